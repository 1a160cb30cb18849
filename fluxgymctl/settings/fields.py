# SPDX-License-Identifier: Apache-2.0
"""The fields of a job that a user can set: one table for the flags of `submit` and `edit`, the keys of a spec file
and the fields of the interface.

Nothing is written down twice: names and types come from the message, and help texts from the comments of the
interface definition. A field that is added there becomes a flag and a key here. _SPELLINGS has the flags that read
better on a command line than the field's name.
"""

import math
import os
import re
import shutil
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from fluxgym.errors import FileMissing
from fluxgym.interfaces import description
from fluxgym.protocol.messages import Context, Model, OpenEnum, Part, ResumeFrom
from fluxgymctl.count import whole
from fluxgymctl.settings import job_parts, origin

OPTIONS = "trainer_options"
LIMITS = "watchdog_limits"
MODEL = "model"
PROGRAM = "program"
DATASET = "dataset"
PARTS = "parts"
_PATHS = frozenset({DATASET, *Model.__struct_fields__})

_SPELLINGS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "parts": (("--part", "--parts"), job_parts.FORM),
    "resume_from": (("--resume-from",), origin.FORM),
    "resolutions": (("--resolutions",), None),  # --resolution is the field of one
    "held": (("--hold", "--held"), None),
    "after": (("--after",), "JOB"),
    # Issue 3: `--gpus N` says how many GPUs, so `--gpu` names one and is repeated.
    "gpus": (("--gpu",), "GPU"),
    "gpu_count": (("--gpus", "--gpu-count"), None),
}
"""Flags and metavar of the fields whose name and type do not say enough; a metavar of None: that of the type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One type of value: a description of the right values, and how they are read from a flag's text and from TOML.

    Both readers raise ValueError for a wrong value.
    """

    right: str
    metavar: str
    from_text: Callable[[str], Any]
    from_toml: Callable[[Any], Any]
    right_as_flag: str | None = None
    """The same for the text of a flag, if it is written in another way than in TOML."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field. `key` is its dotted name in a spec file: `epochs`, `model.clip_l`."""

    key: str
    kind: Kind
    help: str
    repeated: bool

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def flags(self) -> tuple[str, ...]:
        """All spellings of the flag, beginning with the one that messages use."""
        if self.key in _SPELLINGS:
            return _SPELLINGS[self.key][0]
        flag = "--" + self.name.replace("_", "-")
        # A flag that is repeated reads better in the singular: --sample-prompt A --sample-prompt B.
        return tuple(dict.fromkeys((flag, flag.removesuffix("s") if self.repeated else flag)))

    @property
    def metavar(self) -> str:
        return _SPELLINGS.get(self.key, ((), None))[1] or self.kind.metavar


def absolute(text: str, base: Path) -> str:
    """An absolute path, as the daemon needs it. Symlinks are not resolved. If there is no user somebody, `~somebody`
    is a folder of that name, as in a shell. ValueError for an empty path; FileMissing if it cannot exist."""
    if not text:
        raise ValueError
    if "\0" in text:
        raise FileMissing(f"{text!r} contains a NUL character, which no path can.", path=text)
    try:
        return os.path.abspath(base / os.path.expanduser(text))
    except FileNotFoundError:
        sentence = f"{text!r} is relative to the current folder, which was deleted; give an absolute path."
        raise FileMissing(sentence, path=text) from None


def executable(words: list[str], base: Path) -> list[str]:
    """A program, by its absolute path, and its arguments. The daemon's PATH and folder differ from the user's, so the
    program is looked up here, as a shell would. FileMissing if PATH has no such program."""
    if not words or "/" in words[0]:
        return [absolute(words[0], base), *words[1:]] if words else words
    found = shutil.which(words[0])
    if found is None:
        raise FileMissing(
            f"There is no program {words[0]!r} on PATH; to run one from the current folder, write ./{words[0]}.",
            path=words[0],
        )
    return [absolute(found, base), *words[1:]]


def is_name(dataset: str) -> bool:
    """Whether the value is the name of a stored dataset. With a slash, or as . or ~, it is a folder."""
    return bool(dataset) and "/" not in dataset and dataset[0] not in ".~"


def placed(field: "Field", value: Any, base: Path) -> Any:
    """The value, with the path or the program that it names made absolute. ValueError for an empty path."""
    if field.key == PARTS:
        return [_placed_part(part, base) for part in value] if isinstance(value, list) else _placed_part(value, base)
    if field.key == DATASET and is_name(value):
        return value
    if field.kind is _PATH:
        return absolute(value, base)
    return executable(value, base) if field.key == PROGRAM else value


def _placed_part(part: Part, base: Path) -> Part:
    name = part.dataset
    return part if is_name(name) else msgspec.structs.replace(part, dataset=absolute(name, base))


@cache
def fields() -> tuple[Field, ...]:
    """All fields except `trainer_options` and `watchdog_limits`, in the order of the interface."""
    rows = []
    for structure, prefix in ((Context, ""), (Model, MODEL + ".")):
        comments = _comments(structure.__name__)
        for field in msgspec.structs.fields(structure):
            if field.name not in (MODEL, OPTIONS, LIMITS):
                inner = _without_none(field.type)
                rows.append(
                    Field(
                        key=prefix + field.name,
                        kind=_PATH if field.name in _PATHS else _kind(inner),
                        help=_help(inner, comments[field.encode_name]),
                        repeated=typing.get_origin(inner) is list,
                    )
                )
    return tuple(rows)


def _without_none(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        (inner,) = (part for part in typing.get_args(annotation) if part is not types.NoneType)
        return inner
    return annotation


def _kind(annotation: Any) -> Kind:
    """The Kind of a type of the interface."""
    if isinstance(annotation, type) and issubclass(annotation, OpenEnum):
        return _choice(annotation)
    return _KINDS[annotation]


def _choice(enum: type[OpenEnum]) -> Kind:
    """The Kind of an enum, whose values are given by name. `unknown` cannot be given: it only stands for values from
    a newer program."""
    choices = {str(value): value for value in enum if str(value) != "unknown"}

    def read(value: Any) -> OpenEnum:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return choices[value]

    def from_text(text: str) -> OpenEnum:
        return read(text.replace("-", "_"))

    return Kind(right=f"one of {', '.join(choices)}", metavar="|".join(choices), from_text=from_text, from_toml=read)


def _help(annotation: Any, comment: str) -> str:
    """The field's comment. For an enum, the comment of its type comes first, since it explains the values."""
    if not (isinstance(annotation, type) and issubclass(annotation, OpenEnum)):
        return comment
    above = description("org.fluxgym.Jobs").split(f"\ntype {annotation.__name__} (")[0].rpartition("\n\n")[2]
    return " ".join([*(line.removeprefix("# ") for line in above.splitlines()), comment])


def _comments(type_name: str) -> dict[str, str]:
    """The comment on each field of a type in the interface definition, by the field's name on the wire."""
    text = description("org.fluxgym.Jobs")
    block = text[text.index(f"\ntype {type_name} (") :].split("\n)", 1)[0]
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in block.splitlines():
        if part := re.match(r"\s*#\s*(.*)", line):
            comment.append(part[1])
        elif field := re.match(r"\s*(\w+):", line):
            found[field[1]] = " ".join(comment)
            comment = []
    return found


def _whole_from_text(text: str) -> int:
    return whole(int(text))


def _wholes(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise ValueError
    return [whole(item) for item in value]


def _number(value: Any) -> float:
    try:
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer too large for a float
        pass
    raise ValueError


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError
    return [_text(item) for item in value]


_PATH = Kind(right="a path in quotes", metavar="PATH", from_text=_text, from_toml=_text)
_BOOL = Kind(right="true or false", metavar="", from_text=_truth, from_toml=_truth)
_KINDS = {
    bool: _BOOL,
    str: Kind(right="text in quotes", metavar="TEXT", from_text=_text, from_toml=_text),
    int: Kind(right="a whole number", metavar="N", from_text=_whole_from_text, from_toml=whole),
    float: Kind(right="a number", metavar="NUMBER", from_text=lambda text: _number(float(text)), from_toml=_number),
    list[int]: Kind(right="a list of whole numbers", metavar="N", from_text=_whole_from_text, from_toml=_wholes),
    list[Part]: Kind(
        right=job_parts.RIGHT,
        metavar=job_parts.FORM,
        from_text=job_parts.from_text,
        from_toml=job_parts.from_toml,
        right_as_flag=job_parts.RIGHT_AS_FLAG,
    ),
    ResumeFrom: Kind(
        right=origin.RIGHT,
        metavar=origin.FORM,
        from_text=origin.from_text,
        from_toml=origin.from_toml,
        right_as_flag=origin.FORM,
    ),
    list[str]: Kind(right="a list of strings in quotes", metavar="TEXT", from_text=_text, from_toml=_texts),
}


def is_switch(field: Field) -> bool:
    """Whether the flag takes no value; click has then already read it as true or false."""
    return field.kind is _BOOL
