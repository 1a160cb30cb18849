# SPDX-License-Identifier: Apache-2.0
"""The captions of a job: its copies of the user's, written so that each trainer reads what is to be trained. Pure.

The trigger word is written into the copies, and not left to dataset.toml's caption_prefix: sd-scripts adds that
prefix only to captions that are not cached, and only to the first of several lines
(docs/decisions/0102-fields-of-a-job.md).
"""

import unicodedata
from enum import StrEnum

import msgspec


class Lines(StrEnum):
    """What happens to the lines of a caption."""

    KEPT = "kept"
    """The file is copied as it is."""
    JOINED = "joined"
    """They become one line: without enable_wildcard a trainer reads only the first."""
    EACH = "each"
    """Each is a caption, one of which is drawn (enable_wildcard)."""


class Captions(msgspec.Struct, frozen=True, kw_only=True):
    """How the captions are written when the pictures are copied."""

    ending: str = ".txt"
    """The ending of their names."""
    lines: Lines = Lines.KEPT
    trigger: str = ""
    """The words at the front of each caption; empty for none. Not with KEPT."""
    separator: str = ","
    """What follows the trigger: the mark between tags, so that keep_tokens counts the trigger as tags of its own."""


def compose(text: str, how: Captions) -> str:
    """The text of the job's copy. A blank caption stays as it is, and the trainer refuses it."""
    lines = lines_of(text)
    if how.lines is Lines.KEPT or not lines:
        return text
    if how.lines is Lines.JOINED:
        lines = [" ".join(lines)]
    return "\n".join(_triggered(line, how) for line in lines)


def written(text: str | None, how: Captions) -> str:
    """The caption that the trainer reads from a file of the job; empty if there is no such file."""
    return compose(text or "", how).strip()


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, stripped. As in both trainers, only LF and CR end a line."""
    lines = text.replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def _triggered(line: str, how: Captions) -> str:
    """The line with the trigger at its front, once, in the job's own spelling. A captioner may already have written
    it there."""
    if not how.trigger:
        return line
    normal, trigger = unicodedata.normalize("NFC", line), unicodedata.normalize("NFC", how.trigger)
    head, rest = normal[: len(trigger)], normal[len(trigger) :]
    begins = head.casefold() == trigger.casefold()
    if begins and not (rest[:1].isalnum() or rest[:1] == "_"):
        return how.trigger + rest
    return f"{how.trigger}{how.separator} {line}"
