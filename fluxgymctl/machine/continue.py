# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N999  the verb's own name; a module is loaded by it (main.py), never by a statement
"""`continue`: the end of a `pause`."""

import click

from fluxgym.protocol.machine_methods import CONTINUE
from fluxgym.protocol.methods import Nothing
from fluxgymctl.manual import epilog
from fluxgymctl.output import note
from fluxgymctl.session import Session, common_options


@click.command("continue", epilog=epilog("continue"))
@common_options
@click.pass_obj
def command(session: Session) -> None:
    """Ends the pause of the queue: waiting jobs start again."""
    session.call(CONTINUE, Nothing())
    note("The queue is open again, and waiting jobs will start.")
