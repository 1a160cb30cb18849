# SPDX-License-Identifier: Apache-2.0
"""`dataset crop`: which part of a picture jobs train."""

import re

import click

from fluxgym.protocol.dataset_messages import Crop, PictureChange
from fluxgymctl.datasets.changing import change
from fluxgymctl.manual import epilog
from fluxgymctl.session import Session, common_options

_FORM = re.compile(r"(\d{1,7})x(\d{1,7})\+(\d{1,7})\+(\d{1,7})")


@click.command(
    "crop", epilog=epilog("dataset crop cats IMG_1.jpg 1024x768+200+0", "dataset crop cats IMG_1.jpg --whole")
)
@click.argument("name")
@click.argument("picture")
@click.argument("part", required=False, metavar="WIDTHxHEIGHT+LEFT+TOP")
@click.option("--whole", is_flag=True, help="Train the whole picture again.")
@common_options
@click.pass_obj
def command(session: Session, name: str, picture: str, part: str | None, *, whole: bool) -> None:
    """Sets the part of a picture that jobs train, in pixels.

    LEFT and TOP are the distances from the picture's edges. The stored picture stays as it is.
    """
    if whole == (part is not None):
        raise click.UsageError("Give either WIDTHxHEIGHT+LEFT+TOP or --whole.")
    if part is None:
        wanted, done = PictureChange(picture=picture, whole=True), f"Jobs will train all of {picture}."
    else:
        wanted = PictureChange(picture=picture, crop=read(part))
        done = f"Jobs will train the part {part} of {picture}."
    change(session, name, [wanted], done=done)


def read(text: str) -> Crop:
    found = _FORM.fullmatch(text)
    if found is None:
        raise click.UsageError(f"The part is {text!r}, but must be WIDTHxHEIGHT+LEFT+TOP, such as 1024x768+200+0.")
    width, height, left, top = map(int, found.groups())
    return Crop(left=left, top=top, width=width, height=height)
