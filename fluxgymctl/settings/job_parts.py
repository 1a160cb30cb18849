# SPDX-License-Identifier: Apache-2.0
"""The parts of a job's pictures, as they are written in a flag and in a spec file. Pure."""

from typing import Any

from fluxgym.protocol.messages import Part
from fluxgymctl.count import whole

FORM = "WHAT[,repeats=N][,regularisation][,caption=TEXT][,folder=NAME]"
RIGHT = "tables [[parts]], each with a dataset and, if needed, repeats, regularisation, a caption and a folder"
RIGHT_AS_FLAG = f"{FORM}; a folder or a caption with a comma can only be given in a spec file, under [[parts]]"


def from_text(text: str) -> Part:
    """The part in a flag. ValueError if the text is wrong."""
    dataset, *rest = text.split(",")
    given: dict[str, Any] = {"dataset": dataset}
    for item in rest:
        key, separator, value = item.partition("=")
        if key in given:
            raise ValueError
        given[key] = (int(value) if key == "repeats" else value) if separator else True
    return _part(given)


def from_toml(value: Any) -> list[Part]:
    """The parts in a spec file. ValueError if one is wrong."""
    if not isinstance(value, list):
        raise ValueError
    return [_part(table) for table in value]


def _part(given: Any) -> Part:
    kinds = {"dataset": str, "repeats": int, "regularisation": bool, "caption": str, "folder": str}
    if not isinstance(given, dict) or not given.get("dataset") or not given.keys() <= kinds.keys():
        raise ValueError
    if not all(type(value) is kinds[key] for key, value in given.items()):
        raise ValueError
    if "repeats" in given:
        whole(given["repeats"])
    return Part(**given)
