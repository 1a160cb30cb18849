# SPDX-License-Identifier: Apache-2.0
"""`dataset caption`: prints or sets the caption of a picture."""

import sys

import click

from fluxgym.protocol.dataset_messages import PictureChange
from fluxgym.protocol.dataset_methods import PICTURES, PicturesParameters
from fluxgymctl.datasets.changing import change
from fluxgymctl.manual import epilog
from fluxgymctl.output import write, write_json
from fluxgymctl.session import Session, common_options

STDIN_BYTES = 1 << 20


@click.command(
    "caption",
    epilog=epilog(
        "dataset caption cats IMG_1.jpg",
        "dataset caption cats IMG_1.jpg 'a black cat on a wall'",
        "dataset caption cats IMG_1.jpg ''",
    ),
)
@click.argument("name")
@click.argument("picture")
@click.argument("text", required=False)
@common_options
@click.pass_obj
def command(session: Session, name: str, picture: str, text: str | None) -> None:
    """Sets the caption of a picture, or prints it.

    An empty TEXT removes the caption; with - as TEXT, it is read from stdin.
    """
    if text is None:
        with session.connect() as connection:
            for reply in connection.stream(PICTURES, PicturesParameters(name=name, picture=picture)):
                if reply.picture is not None and session.json:
                    write_json(reply.picture)
                elif reply.picture is not None:
                    write(reply.picture.caption or "")
        return
    if text == "-":
        text = sys.stdin.read(STDIN_BYTES)
    done = f"The caption of {picture} is {'changed' if text.strip() else 'removed'}."
    change(session, name, [PictureChange(picture=picture, caption=text)], done=done)
