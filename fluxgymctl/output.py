# SPDX-License-Identifier: Apache-2.0
"""The output of the program: data goes to stdout, remarks go to stderr. Nothing here writes an escape sequence.

Each write is flushed, so that a stream's lines reach a pipe at once.
"""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

import click
import msgspec

PROGRAM = "fluxgymctl"
GAP = "  "
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def write(text: str) -> None:
    """Writes one line of data."""
    write_raw(text + "\n")


def write_raw(text: str) -> None:
    """Writes data exactly as it is (color=True keeps click from removing escape sequences)."""
    click.echo(text, nl=False, color=True)


def write_json(message: msgspec.Struct) -> None:
    """Writes one object of the interface on one line."""
    write(msgspec.json.encode(message).decode())


def note(text: str) -> None:
    """Writes one sentence for people to stderr."""
    click.echo(f"{PROGRAM}: {plain(text)}", err=True)


def note_each(text: str) -> None:
    """Writes several sentences for people, one for each line of the text."""
    for sentence in text.split("\n"):
        note(sentence)


def drop(stream: TextIO | None) -> None:
    """Discards what a failed write has left in a stream: at exit, Python would write it again, and exit with 120."""
    with contextlib.suppress(OSError):
        if stream is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plain(text: str) -> str:
    """The text without control characters: a reason may quote a trainer's output, which may hold anything."""
    return _CONTROL.sub(" ", text)


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    # sys.stdout is None if the caller closed it (`>&-`); click then writes nothing.
    return sys.stdout is not None and sys.stdout.isatty()


def note_below(text: str) -> None:
    """Writes one sentence on a new line, since the terminal has written ^C on the present one."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(err=True)
    note(text)


def terminal_width() -> int:
    """The columns of the terminal, asked for each time since a window can be resized."""
    return shutil.get_terminal_size().columns


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns. A text that is cut ends in `...`."""
    if len(text) <= width:
        return text
    return text[: max(width - 3, 0)] + "..."[: max(width, 0)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Aligned lines under a header. `width`: columns of the terminal; longer lines are cut."""
    lines = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [GAP.join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() for line in lines]
    return texts if width is None else [cut(text, width) for text in texts]


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Writes a table, cut to the terminal's width if stdout is a terminal."""
    for line in table(header, rows, width=terminal_width() if is_terminal() else None):
        write(line)


def write_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Writes each label with its value on a line, with the values aligned."""
    size = max(len(label) for label, _ in facts) + 1
    for label, value in facts:
        write(f"{label + ':':<{size}} {plain(value)}")
