# SPDX-License-Identifier: Apache-2.0
"""A user's notes about a job: which values are valid, and how a change is applied. Pure."""

from collections.abc import Sequence

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Annotation

GROUP_LENGTH = 64
TAG_LENGTH = 32
TAGS = 16
NOTE_LENGTH = 2000
QUOTED = 40
"""How many characters of an invalid tag are quoted."""


def changed(
    before: Annotation | None, *, group: str | None, tags: Sequence[str] | None, note: str | None, best: str | None
) -> Annotation | None:
    """The notes after a change, or None if nothing is left of them. A value of None is kept, and an empty one is
    cleared. InvalidSetting if a value is not valid."""
    if group is not None:
        _check_line(group, "group", GROUP_LENGTH)
    if tags is not None:
        tags = list(dict.fromkeys(tags))
        _check_tags(tags)
    if note is not None:
        _check_note(note)
    had = before or Annotation(tags=[])
    after = Annotation(
        group=_or(group, had.group), tags=had.tags if tags is None else list(tags), note=_or(note, had.note),
        best=_or(best, had.best),
    )  # fmt: skip
    return None if after == Annotation(tags=[]) else after


def sentence(annotation: Annotation | None) -> str:
    """The change that led to these notes, as a sentence of the job's history."""
    if annotation is None:
        return "Its notes were cleared."
    noted = []
    if annotation.group is not None:
        noted.append(f"the group {annotation.group}")
    if annotation.tags:
        noted.append(f"the {'tag' if len(annotation.tags) == 1 else 'tags'} {', '.join(annotation.tags)}")
    if annotation.note is not None:
        noted.append("a note")
    if annotation.best is not None:
        noted.append(f"{annotation.best} as its best LoRA")
    return f"Its notes were changed: it has {'; '.join(noted)}."


def _or(asked: str | None, before: str | None) -> str | None:
    return before if asked is None else asked or None


def _check_line(text: str, setting: str, most: int) -> None:
    if len(text) > most:
        raise InvalidSetting(
            f"{setting} has {len(text)} characters, but at most {most} are allowed.", setting=setting
        )
    if not text.isprintable() or text != text.strip():
        raise InvalidSetting(
            f"{setting} must be printable characters on one line, without a space at either end.", setting=setting
        )


def _check_tags(tags: Sequence[str]) -> None:
    if len(tags) > TAGS:
        raise InvalidSetting(f"A job can have at most {TAGS} tags, not {len(tags)}.", setting="tags")
    for tag in tags:
        if not 0 < len(tag) <= TAG_LENGTH or not tag.isprintable() or "," in tag or " " in tag:
            raise InvalidSetting(
                f"The tag {tag[:QUOTED]!r} is not valid: a tag has 1 to {TAG_LENGTH} printable characters, without "
                "spaces and commas.",
                setting="tags",
            )


def _check_note(note: str) -> None:
    if len(note) > NOTE_LENGTH:
        raise InvalidSetting(
            f"note has {len(note)} characters, but at most {NOTE_LENGTH} are allowed.", setting="note"
        )
    if not all(line.isprintable() for line in note.replace("\t", " ").split("\n")):
        raise InvalidSetting("note must be printable characters, tabs and line breaks.", setting="note")
