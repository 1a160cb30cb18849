# SPDX-License-Identifier: Apache-2.0
"""Where text goes: data to stdout, everything said about it to stderr. Nothing here writes an escape sequence.

Each write is flushed, so that a pipe sees a stream's lines as they come.
"""

import re
import shutil
import sys
from collections.abc import Sequence

import click
import msgspec

PROGRAM = "fluxgymctl"
GAP = "  "
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def write(text: str) -> None:
    """One line of data."""
    write_raw(text + "\n")


def write_raw(text: str) -> None:
    """Data exactly as it is (color=True keeps click from taking bytes out of it)."""
    click.echo(text, nl=False, color=True)


def write_json(message: msgspec.Struct) -> None:
    """One object of the interface on one line."""
    write(msgspec.json.encode(message).decode())


def note(text: str) -> None:
    """One sentence for people, on stderr."""
    click.echo(f"{PROGRAM}: {plain(text)}", err=True)


def plain(text: str) -> str:
    """The text without control characters: a reason may quote a trainer's output, which may hold anything."""
    return _CONTROL.sub(" ", text)


def is_terminal() -> bool:
    """Whether stdout is one."""
    # None: the caller closed it (`>&-`), and click then writes nothing.
    return sys.stdout is not None and sys.stdout.isatty()


def note_below(text: str) -> None:
    """One sentence on a line of its own, where the terminal has written ^C on the present one."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(err=True)
    note(text)


def terminal_width() -> int:
    """Columns of the terminal, asked each time since a window can be resized."""
    return shutil.get_terminal_size().columns


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; one that is cut ends in dots."""
    if len(text) <= width:
        return text
    return text[: max(width - 3, 0)] + "..."[: max(width, 0)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Aligned lines under a header. `width`: columns of the terminal; the last column is cut to fit it."""
    lines = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [GAP.join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() for line in lines]
    return texts if width is None else [cut(text, width) for text in texts]


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, cut to the terminal's width if there is a terminal."""
    for line in table(header, rows, width=terminal_width() if is_terminal() else None):
        write(line)


def write_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Label and value on a line each, the values aligned."""
    size = max(len(label) for label, _ in facts) + 1
    for label, value in facts:
        write(f"{label + ':':<{size}} {plain(value)}")
