# SPDX-License-Identifier: Apache-2.0
"""Lists the files of a job that its user may want to have. Everything here blocks on the disk.

Names come from a trainer or from a user's program, which may name anything. Only files in the job's folder are
listed, and no link is followed.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fluxgym.protocol.messages import Context
from fluxgym.protocol.output_messages import FileKind, JobFile, Sample
from fluxgymd.store.formats import png_text
from fluxgymd.store.home import COMMAND, JobFolder
from fluxgymd.trainers.port import Output, Trainer

MOST = 20_000
"""How many files one answer lists; the newest are kept. A result.json may name 60,000."""
KNOWN = {
    "training.log": FileKind.LOG,
    "monitor.log": FileKind.LOG,
    "metrics.jsonl": FileKind.METRICS,
    "events.jsonl": FileKind.HISTORY,
    "ui_state.json": FileKind.SETTINGS,
    "dataset.toml": FileKind.SETTINGS,
    "sample_prompts.txt": FileKind.SETTINGS,
    # From an older FluxGym.
    "train.sh": FileKind.SETTINGS,
    "resume.sh": FileKind.SETTINGS,
}
OF_NO_USE = ("monitor.pid", "owner.json")
OF_ATTEMPTS = {"attempts/*/evidence/*": FileKind.EVIDENCE, f"attempts/*/{COMMAND}": FileKind.SETTINGS}


def files(trainer: Trainer, context: Context | None, folder: JobFolder) -> list[JobFile]:
    """The files, the newest first. Raises OSError."""
    made = {name: Output(name=name, kind=kind) for name, kind in _own(folder)}
    made |= {output.name: output for output in trainer.outputs(context, folder)}
    found = [
        JobFile(
            name=state.name,
            kind=FileKind.STATE,
            path=str(folder.path / state.name),
            size=state.size,
            epoch=state.epoch,
            step=state.step,
            created_at=state.created_at,
        )
        for state in trainer.checkpoints(context, folder)
    ]
    for output in made.values():
        facts = regular(folder, output.name)
        if facts is not None:
            found.append(
                JobFile(
                    name=output.name,
                    kind=output.kind,
                    path=str(folder.path / output.name),
                    size=facts.st_size,
                    epoch=output.epoch,
                    step=output.step,
                    created_at=facts.st_mtime,
                )
            )
    found.sort(key=lambda file: (-file.created_at, file.name))
    return found[:MOST]


def samples(trainer: Trainer, context: Context | None, folder: JobFolder) -> list[Sample]:
    """The samples in the order of the training; those drawn at the same step are in the order of the prompts. Raises
    OSError."""
    prompts = (context.sample_prompts if context is not None else None) or []
    found = []
    for output in trainer.outputs(context, folder):
        facts = regular(folder, output.name) if output.number is not None else None
        if facts is not None and output.number is not None:
            found.append(
                Sample(
                    file=output.name,
                    path=str(folder.path / output.name),
                    prompt=_prompt(folder.path / output.name, output.number, prompts),
                    number=output.number,
                    seed=output.seed,
                    epoch=output.epoch,
                    step=output.step,
                    size=facts.st_size,
                    created_at=facts.st_mtime,
                )
            )
    found.sort(key=lambda one: (one.step or 0, one.epoch or 0, one.number, one.created_at))
    return found[-MOST:]


def regular(folder: JobFolder, name: str) -> os.stat_result | None:
    """The facts about a file below the job's folder; None if it does not exist, or if its name leads out of the
    folder: through `..`, an absolute path or a link."""
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        return None
    try:
        for number in range(1, len(parts)):
            if not stat.S_ISDIR(os.lstat(os.path.join(folder.where, *parts[:number])).st_mode):
                return None
        facts = os.lstat(os.path.join(folder.where, *parts))
    except OSError:  # it was deleted in the meantime, or its name is too long
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None


def _own(folder: JobFolder) -> Iterator[tuple[str, FileKind]]:
    """The names of the daemon's files, and of files that the trainer did not describe."""
    with os.scandir(folder.where) as entries:
        for entry in entries:
            if (
                entry.is_file(follow_symlinks=False)
                and not entry.name.startswith(".")
                and entry.name not in OF_NO_USE
            ):
                yield entry.name, KNOWN.get(entry.name, FileKind.OTHER)
    with suppress(OSError):
        for pattern, kind in OF_ATTEMPTS.items():
            for path in Path(folder.where).glob(pattern):
                yield str(path.relative_to(folder.where)), kind


def _prompt(sample: Path, number: int, prompts: Sequence[str]) -> str | None:
    """The prompt that the trainer wrote into the sample, or else the job's prompt of this number, without options
    such as --w 512."""
    written = png_text.text(sample, "prompt")
    if written is not None:
        return written
    return prompts[number].partition(" --")[0].strip() if number < len(prompts) else None
