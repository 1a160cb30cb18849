# SPDX-License-Identifier: Apache-2.0
"""`dataset use`: whether jobs train pictures."""

import click

from fluxgym.protocol.dataset_messages import PictureChange
from fluxgymctl.datasets.changing import change
from fluxgymctl.manual import epilog
from fluxgymctl.session import Session, common_options


@click.command("use", epilog=epilog("dataset use cats IMG_1.jpg IMG_2.jpg --no", "dataset use cats IMG_1.jpg"))
@click.argument("name")
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True)
@click.option("--yes/--no", "used", default=True, help="Whether new jobs train the pictures. Default: --yes.")
@common_options
@click.pass_obj
def command(session: Session, name: str, pictures: tuple[str, ...], *, used: bool) -> None:
    """Says whether jobs train pictures.

    A picture that is not used stays in the dataset.
    """
    which = pictures[0] if len(pictures) == 1 else f"{len(pictures)} pictures"
    verb = "is" if len(pictures) == 1 else "are"
    changes = [PictureChange(picture=picture, used=used) for picture in dict.fromkeys(pictures)]
    change(session, name, changes, done=f"{which} {verb} {'used' if used else 'not used'}.")
