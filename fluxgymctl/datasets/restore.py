# SPDX-License-Identifier: Apache-2.0
"""`dataset restore`: brings removed datasets back."""

import click

from fluxgym.protocol.dataset_methods import RESTORE_DATASET, DatasetName
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("restore", epilog=epilog("dataset restore cats"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Brings removed datasets back, each with all of its changes.

    `fluxgymctl dataset list --removed` shows which there are.
    """

    def restore(name: str) -> None:
        dataset = session.call(RESTORE_DATASET, DatasetName(name=name)).dataset
        if session.json:
            write_json(dataset)
        else:
            note(f"{name} is back, with {dataset.pictures} pictures.")

    return each(names, restore)
