# SPDX-License-Identifier: Apache-2.0
"""`dataset create`: an empty dataset."""

import click

from fluxgym.protocol.dataset_methods import CREATE_DATASET, DatasetName
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("create", epilog=epilog("dataset create cats"))
@click.argument("name")
@common_options
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Creates an empty dataset."""
    dataset = session.call(CREATE_DATASET, DatasetName(name=name)).dataset
    if session.json:
        write_json(dataset)
    else:
        note(f"Created the dataset {name}; `fluxgymctl dataset add {name} PATH` adds pictures.")
