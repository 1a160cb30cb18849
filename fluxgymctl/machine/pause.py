# SPDX-License-Identifier: Apache-2.0
"""`pause`: starts nothing more."""

import click

from fluxgym.protocol.machine_methods import PAUSE
from fluxgym.protocol.methods import Nothing
from fluxgymctl.manual import epilog
from fluxgymctl.output import note
from fluxgymctl.session import Session, common_options


@click.command("pause", epilog=epilog("pause"))
@common_options
@click.pass_obj
def command(session: Session) -> None:
    """Pauses the queue: no more jobs are started.

    Running jobs continue. The pause survives a restart of the daemon or the machine; `fluxgymctl continue` ends it.
    """
    session.call(PAUSE, Nothing())
    note("The queue is paused: running jobs continue, and no more jobs are started until `fluxgymctl continue`.")
