# SPDX-License-Identifier: Apache-2.0
"""`dataset check`: what the owner of a dataset may want to correct."""

import click

from fluxgym.protocol.dataset_methods import CHECK_DATASET, CheckParameters
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, plain, write, write_json
from fluxgymctl.session import Session, common_options


@click.command("check", epilog=epilog("dataset check cats", "dataset check cats --resolution 1024"))
@click.argument("name")
@click.option(
    "--resolution", metavar="N", callback=read_count, help="The training's resolution in pixels. Default 512."
)
@common_options
@click.pass_obj
def command(session: Session, name: str, resolution: int | None) -> None:
    """Finds near duplicates, blurred and small pictures, and captions that are missing or equal.

    Changes nothing.
    """
    found = session.call(CHECK_DATASET, CheckParameters(name=name, resolution=resolution)).findings
    for finding in found:
        if session.json:
            write_json(finding)
        else:
            write(plain(finding.text))
    if not found and not session.json:
        note(f"Nothing to report about {name}.")
