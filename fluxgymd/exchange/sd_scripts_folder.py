# SPDX-License-Identifier: Apache-2.0
"""A training as files for kohya-ss/sd-scripts, without FluxGym: its script, dataset.toml and prompts. Pure.

The folder may be moved: apart from the models, all paths in it are relative.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym import __version__
from fluxgym.protocol.messages import Context
from fluxgymd.snapshots import subsets
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import dataset_toml, kohya
from fluxgymd.trainers.dataset_toml import OFF
from fluxgymd.trainers.states import StateWriter

SCRIPT, DATASET, OUTPUT = "train.sh", "dataset", "output"

OURS_ALONE = frozenset(
    {
        *("attention", "deterministic", "ema_decay", "no_compile", "replan", "vram"),
        *("debug_hang", "debug_hang_once", "check_job", "plan"),
        # Newer versions of sd-scripts have these for another model.
        *("compile", "compile_backend", "compile_cache_size_limit", "compile_dynamic", "compile_fullgraph"),
        "compile_mode",
    }
)
"""Flags of our trainer that sd-scripts does not have."""

FILE_FLAGS = frozenset({"network_weights", "logging_dir"})
"""Options whose word is a path, relative to the job's folder if it is not absolute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """The files by name, without the pictures, and sentences about what differs from the job."""

    files: Mapping[str, bytes]
    notes: Sequence[str]


def export(context: Context, folder: JobFolder) -> Export:
    """`context`: the complete settings of a training. `folder`: the job's folder."""
    options, notes = _options(context, folder)
    if context.resume_from is not None:
        notes.append(
            f"The checkpoint of {context.resume_from.job} that the job started from is left out: {SCRIPT} begins at "
            "step 0."
        )
    job = msgspec.structs.replace(context, trainer_options=options)
    there = JobFolder(f"{OUTPUT}/{context.name}")
    moved = {str(path): path.name for path in (there.dataset_config, there.sample_prompts)}
    moved[str(there.path)] = OUTPUT
    words = [moved.get(word, word) for word in kohya.arguments(job, there, None, trainer=StateWriter.SD_SCRIPTS)]
    files = {
        SCRIPT: _script(context, words).encode(errors="surrogateescape"),
        there.dataset_config.name: dataset_toml.render(job, subsets.folders(job, Path(DATASET))),
    }
    if context.sample_prompts:
        files[there.sample_prompts.name] = kohya.sample_prompts(context)
    return Export(files=files, notes=notes)


def _options(context: Context, folder: JobFolder) -> tuple[dict[str, list[str]], list[str]]:
    """The options that sd-scripts takes, and notes about the others."""
    given = context.trainer_options or {}
    options = {name: words for name, words in given.items() if name not in OURS_ALONE}
    notes = [
        f"trainer_options.{name} is left out: only FluxGym's trainer has this flag."
        for name, words in given.items()
        if name in OURS_ALONE and words != OFF
    ]
    for name in FILE_FLAGS & options.keys():
        options[name] = [str(folder.path / word) for word in options[name]] if options[name] != OFF else OFF
    if kohya.uncacheable(options):
        options |= dict.fromkeys(kohya.TEXT_CACHING, OFF)
        notes.append("The cache of the captions is turned off: sd-scripts caches them as they are in their files.")
    return options, notes


def _script(context: Context, words: Sequence[str]) -> str:
    """The shell script. Each flag is on a line of its own, quoted as the shell needs it."""
    starter = " ".join(map(shlex.quote, kohya.starter(Path("python"), gpus=context.gpu_count or 1)[1:]))
    lines: list[list[str]] = []
    for word in words:
        if word.startswith("--"):
            lines.append([word])
        else:
            lines[-1].append(word)
    flags = "".join(f"  {shlex.join(line)} \\\n" for line in lines)
    return f"""\
#!/bin/sh
# Trains {context.name} with kohya-ss/sd-scripts. Written by FluxGym {__version__}.
#
#     SD_SCRIPTS=/path/to/sd-scripts PYTHON=/path/to/sd-scripts/venv/bin/python sh {SCRIPT}
#
# PYTHON is an absolute path or a program on PATH; without it, python is used. The models are where the job had them.
# Further flags may follow.
sd_scripts=$(CDPATH= cd -- "${{SD_SCRIPTS:?is not set; set it to the folder of sd-scripts}}" && pwd) || exit 2
CDPATH= cd -- "$(dirname -- "$0")" || exit 2
exec "${{PYTHON:-python}}" {f"{starter} " if starter else ""}"$sd_scripts/{kohya.SCRIPT}" \\
{flags}  "$@"
"""
