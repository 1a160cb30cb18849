# SPDX-License-Identifier: Apache-2.0
"""What the web page cannot set: programs, and every option whose value is a path. It chooses models, datasets and
jobs by name. Only this module lists these options, and what it does not list is refused. Pure.

A value that a job or preset already has may be reused: to edit the job, to continue it with more epochs, or to train
again with changes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fluxgym.protocol.messages import Context, Part

FREE_PARAMETERS = frozenset(
    {
        *("name", "limit", "before", "after", "offset", "follow", "since", "points", "text", "regex", "file", "size"),
        *("afterCheckpoint", "assumeGone", "mode", "until", "group", "tags", "note", "best", "now", "keep", "format"),
        *("about", "like", "presets", "replace", "gpu", "hook", "interface", "removed", "picture", "triggerWord"),
        *("triggerPlace", "changes", "revision", "find", "preview", "change", "resolution", "side", "purge"),
        *("subfolders", "captionEnding", "mostMegapixels", "moreEpochs", "measure"),
    }
)
"""Parameters of methods whose value is neither a path nor a program."""

CONTEXTS = frozenset({"job", "settings", "base"})
"""Parameters that are settings of a job."""

PATHS = frozenset({"path", "folder"})
"""Parameters that are paths: those of Add, which uploads replace, and those of Convert and Export."""

FREE_SETTINGS = frozenset(
    {
        *("name", "kind", "triggerWord", "triggerPlace", "resolution", "resolutions", "enableBucket", "repeats"),
        *("epochs", "saveEveryEpochs", "sampleEverySteps", "sampleEveryEpochs", "samplePrompts", "seed"),
        *("learningRate", "networkDim", "priority", "held", "after", "gpus", "gpuCount", "restart", "keepStates"),
        *("watchdog", "watchdogLimits", "resumeFrom"),
    }
)
"""Settings of a job whose value is neither a path nor a program. A checkpoint in `resumeFrom` is a name."""

CHECKED_SETTINGS = frozenset({"dataset", "parts", "model", "program", "trainerOptions"})
"""Settings of a job that can hold a path or a program."""

MODULES = frozenset({"network_module", "optimizer_type", "lr_scheduler_type"})
"""Options of the trainer that can name a Python module, which would then be executed."""


def refused(parameters: msgspec.Struct, known: Sequence[Context], paths: Collection[str]) -> str | None:
    """The first parameter that the page cannot set, such as `job.model`; None if it can set them all. `known`: the
    settings whose values may be reused. `paths`: the trainer's options whose value is a path."""
    for field in msgspec.structs.fields(parameters):
        value, name = getattr(parameters, field.name), field.encode_name
        if value is None or name in FREE_PARAMETERS:
            continue
        if name not in CONTEXTS or not isinstance(value, Context):
            return name
        found = next(_settings(value, known, paths), None)
        if found is not None:
            return f"{name}.{found}"
    return None


def _settings(context: Context, known: Sequence[Context], paths: Collection[str]) -> Iterator[str]:
    for field in msgspec.structs.fields(context):
        value, name = getattr(context, field.name), field.encode_name
        if value is None or name in FREE_SETTINGS or any(getattr(one, field.name) == value for one in known):
            continue
        if name == "trainerOptions":
            yield from (f"{name}.{option}" for option in _options(value, known, paths))
        elif name == "parts":
            used = [part.dataset for one in known for part in one.parts or []] + [one.dataset for one in known]
            yield from (f"{name}.dataset" for part in value if not _is_stored(part, used))
        elif name != "dataset" or not is_name(value):
            yield name


def _options(options: Mapping[str, Sequence[str]], known: Sequence[Context], paths: Collection[str]) -> Iterator[str]:
    for name, words in options.items():
        if any((one.trainer_options or {}).get(name) == words for one in known) or words == ["false"]:
            continue
        plain = name.replace("-", "_").removeprefix("__")
        if plain in paths or any(_is_path(word) or (plain in MODULES and "." in word) for word in words):
            yield name


def _is_stored(part: Part, used: Collection[Any]) -> bool:
    return is_name(part.dataset) or part.dataset in used


def is_name(dataset: str) -> bool:
    """Whether this is the name of a dataset and not a path."""
    return "/" not in dataset and not dataset.startswith((".", "~"))


def _is_path(word: str) -> bool:
    return "/" in word or "\\" in word or word.startswith("~")
