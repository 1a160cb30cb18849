# SPDX-License-Identifier: Apache-2.0
"""`dataset add`: imports pictures and captions from folders, ZIP files or single pictures."""

from pathlib import Path

import click

from fluxgym.errors import AnswerMissing
from fluxgym.protocol.dataset_methods import ADD_PICTURES, AddParameters, AddReply
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import cut, is_terminal, note, plain, terminal_width, write_json, write_raw
from fluxgymctl.session import Session, common_options
from fluxgymctl.settings.fields import absolute

LEFT_OUT = 1
"""The exit status if a file was left out."""


class Progress:
    """One line on a terminal, which is overwritten; nothing elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._length = 0

    def show(self, text: str) -> None:
        if self._shown:
            line = cut(plain(text), terminal_width() - 1)
            write_raw("\r" + line.ljust(self._length))
            self._length = len(line)

    def clear(self) -> None:
        if self._length:
            write_raw("\r" + " " * self._length + "\r")
            self._length = 0


@click.command(
    "add",
    epilog=epilog(
        "dataset add cats ~/Pictures/cats",
        "dataset add cats holiday.zip --subfolders",
        ends="0 everything was added; 1 a file was left out, and the others were added",
    ),
)
@click.argument("name")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--subfolders", is_flag=True, help="Also add the pictures in subfolders.")
@click.option("--caption-ending", metavar="ENDING", help="The ending of the captions' names. Default .txt.")
@click.option(
    "--most-megapixels",
    metavar="NUMBER",
    type=float,
    help="A larger picture is scaled down to this size. Default 50.",
)
@common_options
@click.pass_obj
def command(
    session: Session,
    name: str,
    paths: tuple[str, ...],
    *,
    subfolders: bool,
    caption_ending: str | None,
    most_megapixels: float | None,
) -> int:
    """Adds pictures with their captions to a dataset.

    PATH is a folder, a ZIP file or a picture; it stays as it is. Pictures that the dataset has already are not added
    again, so an addition that was interrupted can be repeated. Each file that is left out gets a sentence.
    """
    left_out = 0

    def add(path: str) -> None:
        nonlocal left_out
        try:
            source = absolute(path, Path())
        except ValueError:
            raise click.UsageError("A path is empty; give a folder, a ZIP file or a picture.") from None
        wanted = AddParameters(
            name=name,
            path=source,
            subfolders=subfolders or None,
            caption_ending=caption_ending,
            most_megapixels=most_megapixels,
        )
        left_out += _add(session, wanted)

    return each(paths, add) or (LEFT_OUT if left_out else 0)


def _add(session: Session, wanted: AddParameters) -> int:
    """Adds from one path, and returns how many files were left out."""
    progress = Progress(shown=is_terminal() and not session.json)
    added = left_out = 0
    try:
        with session.connect() as connection:
            for reply in connection.stream(ADD_PICTURES, wanted):
                left_out = reply.problems or 0
                if session.json:
                    write_json(reply)
                    continue
                added += reply.picture is not None
                if (text := sentence(reply)) is not None:
                    progress.clear()
                    note(text)
                if reply.file is not None:
                    progress.show(f"{added} added  {reply.file}")
    except AnswerMissing as error:
        raise AnswerMissing(f"{error} What was added so far is kept; repeat the command to add the rest.") from None
    finally:
        progress.clear()
    return left_out


def sentence(reply: AddReply) -> str | None:
    """What a person should read of a reply; None if there is nothing."""
    if reply.problem is not None:
        return reply.problem
    if reply.note is not None:
        return reply.note
    if reply.picture is not None and reply.picture.notes:
        return f"{reply.picture.name}: {' '.join(reply.picture.notes)}"
    if reply.duplicate:
        return f"{reply.file} is in the dataset already."
    if reply.added is not None:
        return total(reply)
    return None


def total(reply: AddReply) -> str:
    parts = [f"{_count(reply.added or 0)} added"]
    if reply.duplicates:
        parts.append(f"{reply.duplicates} already known")
    if reply.problems:
        parts.append(f"{_files(reply.problems)} left out")
    return f"{', '.join(parts)}."


def _count(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"
