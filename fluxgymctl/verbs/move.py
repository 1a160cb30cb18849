# SPDX-License-Identifier: Apache-2.0
"""`move`: another place in the queue for a waiting job."""

import click

from fluxgym.protocol.methods import MOVE, MoveParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("move", epilog=epilog("move my-lora", "move my-lora --before other-lora"))
@click.argument("name")
@click.option("--before", metavar="OTHER", help="Move it right before this waiting job, with that job's priority.")
@common_options
@click.pass_obj
def command(session: Session, name: str, before: str | None) -> None:
    """Moves a waiting job to the front of the queue.

    With --before, moves it right before another waiting job.
    """
    job = session.call(MOVE, MoveParameters(name=name, before=before)).job
    if session.json:
        write_json(job)
    else:
        note(f"{name} is now at the front of the queue." if before is None else f"{name} is now before {before}.")
