# SPDX-License-Identifier: Apache-2.0
"""`dataset rm`: removes datasets. `dataset restore` brings them back."""

import sys

import click

from fluxgym.protocol.dataset_methods import REMOVE_DATASET, RemoveDatasetParameters
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note
from fluxgymctl.session import Session, common_options


@click.command("rm", epilog=epilog("dataset rm cats", "dataset rm cats --purge --yes"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--purge", is_flag=True, help="Delete the datasets for good, even those already removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation of --purge.")
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, purge: bool, yes: bool) -> int:
    """Removes datasets. Jobs keep the pictures that they were submitted with.

    Without --purge, `fluxgymctl dataset restore` brings them back, and they keep their space on the disk.
    """

    def remove(name: str) -> None:
        question = f"Delete the dataset {name} with its pictures for good?"
        if purge and not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
            return
        session.call(REMOVE_DATASET, RemoveDatasetParameters(name=name, purge=purge or None))
        if not session.json:
            note(
                f"{name} is deleted."
                if purge
                else f"{name} is removed; `fluxgymctl dataset restore {name}` brings it back."
            )

    return each(names, remove)
