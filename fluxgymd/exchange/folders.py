# SPDX-License-Identifier: Apache-2.0
"""The folders of pictures in another program's settings: one is the job's dataset, several are its parts. Pure."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from fluxgym.protocol.messages import Part, TriggerPlace
from fluxgymd.exchange.carried import Carried, asks_nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """One folder. The values are as the file has them."""

    key: str
    """The key of its path in the file."""
    path: object
    repeats: object = 1
    regularisation: bool = False
    class_tokens: object = None
    """sd-scripts' caption of a picture that has none."""


def carry(folders: Sequence[Folder], carried: Carried) -> None:
    """Sets the job's pictures. If all folders have one class, that is the trigger word of the job."""
    classes = {str(folder.class_tokens or "") for folder in folders if not folder.regularisation}
    shared = classes.pop() if len(classes) == 1 else ""
    if not asks_nothing(shared):
        carried.fields["trigger_word"] = shared
        carried.fields["trigger_place"] = TriggerPlace.MISSING
    if len(folders) == 1:
        _only(folders[0], carried)
        return
    parts: dict[str, Part] = {}
    for folder in folders:
        path = carried.path(folder.key, folder.path)
        repeats = carried.exactly("repeats", f"repeats of {folder.path}", folder.repeats)
        if path in parts:
            carried.leave(folder.key, folder.path, "a job has each folder once; give several sizes as resolutions")
        elif path is not None:
            caption = str(folder.class_tokens or "")
            parts[path] = Part(
                dataset=path,
                repeats=repeats,
                regularisation=folder.regularisation or None,
                caption=None
                if asks_nothing(caption) or (caption == shared and not folder.regularisation)
                else caption,
            )
    if parts:
        carried.fields["parts"] = list(parts.values())


def _only(folder: Folder, carried: Carried) -> None:
    path = carried.path(folder.key, folder.path)
    if path is not None:
        carried.fields["dataset"] = path
    repeats = carried.exactly("repeats", f"repeats of {folder.path}", folder.repeats)
    if repeats is not None:
        carried.fields["repeats"] = repeats
    if folder.regularisation:
        carried.notes.append(
            f"{folder.path} has regularisation pictures only, so they are what the LoRA learns from."
        )


def note_differences(
    of_all: Mapping[str, Any],
    of_one: Mapping[str, Any],
    folder: object,
    carried: Carried,
    *,
    except_for: AbstractSet[str] = frozenset(),
) -> None:
    """Notes the settings in which a further folder differs from the first one, whose settings the job has.
    `except_for`: those that do not carry over from the first folder either."""
    for key in sorted((of_all.keys() | of_one.keys()) - except_for):
        first, other = of_all.get(key), of_one.get(key)
        if first == other or (asks_nothing(first) and asks_nothing(other)):
            continue
        if asks_nothing(other):
            carried.notes.append(f"{key} applies to all parts of a job, also to {folder}, where it is not given.")
        else:
            carried.leave(f"{key} of {folder}", other, "all parts of a job have what the first one has")
