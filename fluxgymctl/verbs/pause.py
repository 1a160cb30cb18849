# SPDX-License-Identifier: Apache-2.0
"""`pause`: starts nothing more."""

import click

from fluxgym.methods import PAUSE, Nothing
from fluxgymctl.manual import epilog
from fluxgymctl.output import note
from fluxgymctl.session import Session, common_options


@click.command("pause", epilog=epilog("pause"))
@common_options
@click.pass_obj
def command(session: Session) -> None:
    """Pauses the queue: no job is started any more.

    What runs goes on. The pause outlives a restart of the daemon and of the machine; `fluxgymctl continue` ends it.
    """
    session.call(PAUSE, Nothing())
    note("The queue is paused: what runs goes on, and nothing more is started until `fluxgymctl continue`.")
