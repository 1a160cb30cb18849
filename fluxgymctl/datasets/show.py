# SPDX-License-Identifier: Apache-2.0
"""`dataset show`: a dataset with its pictures and its changes, or one of its pictures."""

import time

import click

from fluxgym.protocol.dataset_messages import Crop, Dataset, DatasetChange, Picture
from fluxgym.protocol.dataset_methods import (
    DESCRIBE_DATASET,
    PICTURES,
    DatasetName,
    PicturesParameters,
    PicturesReply,
)
from fluxgym.protocol.messages import TriggerPlace
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write, write_facts, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("PICTURE", "PIXELS", "CROP", "USED", "TRAINED TEXT")
LAST = 10
"""Changes that are shown to people."""


@click.command("show", epilog=epilog("dataset show cats --trigger-word c4t", "dataset show cats IMG_1.jpg"))
@click.argument("name")
@click.argument("picture", required=False)
@click.option("--trigger-word", metavar="TEXT", help="Show the texts that a job with this trigger word trains.")
@click.option(
    "--trigger-place",
    type=click.Choice(["first", "missing", "none"]),
    help="As in `submit`. Default first.",
)
@common_options
@click.pass_obj
def command(
    session: Session, name: str, picture: str | None, trigger_word: str | None, trigger_place: str | None
) -> None:
    """Shows a dataset with its pictures and its last changes, or one picture.

    The texts are those that a job trains: the captions with the trigger word.
    """
    place = None if trigger_place is None else TriggerPlace(trigger_place)
    with session.connect() as connection:
        shown = connection.call(DESCRIBE_DATASET, DatasetName(name=name)) if picture is None else None
        if shown is not None and shown.dataset.problem is not None:
            note(shown.dataset.problem)
            found = []
        else:
            wanted = PicturesParameters(name=name, picture=picture, trigger_word=trigger_word, trigger_place=place)
            found = [reply for reply in connection.stream(PICTURES, wanted) if reply.picture is not None]
    if session.json:
        for one in (*([shown] if shown is not None else []), *found):
            write_json(one)
    elif shown is None:
        write_facts([fact for one in found for fact in facts(one)])
    else:
        write_facts(about(shown.dataset, now=time.time()))
        if found:
            write("")
            write_table(HEADER, rows(found))
        if shown.changes:
            write("")
            write_table(("CHANGE", "WHEN", "WHAT"), change_rows(shown.changes[-LAST:], now=time.time()))


def about(dataset: Dataset, *, now: float) -> list[tuple[str, str]]:
    return [
        ("Name", dataset.name),
        ("State", words.name(dataset.state)),
        ("Pictures", words.text(dataset.pictures)),
        ("Used", words.text(dataset.used)),
        ("Captions", words.text(dataset.captioned)),
        ("Size", words.size(dataset.size)),
        ("Revision", words.text(dataset.revision)),
        ("Created", words.moment(dataset.created_at, now=now)),
        ("Folder", dataset.home),
    ]


def facts(reply: PicturesReply) -> list[tuple[str, str]]:
    picture = reply.picture
    assert picture is not None
    return [
        ("Name", picture.name),
        ("Caption", words.text(picture.caption)),
        ("Trained", reply.trained or words.ABSENT),
        ("Pixels", pixels(picture)),
        ("Crop", crop(picture.crop)),
        ("Used", "yes" if picture.used else "no"),
        ("Mask", "yes" if picture.masked else "no"),
        ("Size", words.size(picture.size)),
        ("Repeats", words.text(picture.repeats)),
        ("Class", words.text(picture.class_tokens)),
        ("Revision", words.text(picture.revision)),
        ("SHA-256", words.text(picture.sha256)),
        *(("Note", text) for text in picture.notes or ()),
    ]


def rows(found: list[PicturesReply]) -> list[tuple[str, ...]]:
    return [
        (
            picture.name,
            pixels(picture),
            crop(picture.crop),
            "yes" if picture.used else "no",
            reply.trained or words.ABSENT,
        )
        for reply in found
        if (picture := reply.picture) is not None
    ]


def pixels(picture: Picture) -> str:
    return words.ABSENT if picture.width is None else f"{picture.width} x {picture.height}"


def crop(part: Crop | None) -> str:
    """A crop as `dataset crop` takes it."""
    return words.ABSENT if part is None else f"{part.width}x{part.height}+{part.left}+{part.top}"


def change_rows(changes: list[DatasetChange], *, now: float) -> list[tuple[str, ...]]:
    return [
        (
            str(change.number),
            words.moment(change.at, now=now),
            change.text if change.undone_by is None else f"{change.text} (undone by {change.undone_by})",
        )
        for change in changes
    ]
