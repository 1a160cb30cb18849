# SPDX-License-Identifier: Apache-2.0
"""`stop`: ends running jobs after they have saved, and cancels queued ones."""

import click

from fluxgym.messages import State
from fluxgym.methods import STOP, JobName
from fluxgymctl.each import each
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("stop")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Stops running jobs, cancels queued ones.

    A running job saves first and can be resumed. The verb answers at once; `fluxgymctl wait NAME` waits for the end.
    """

    def stop(name: str) -> None:
        job = session.call(STOP, JobName(name=name)).job
        if session.json:
            write_json(job)
        elif job.runtime.state is State.STOPPING:
            note(f"{name} is stopping: the trainer saves first.")
        else:
            note(f"{name} is {job.runtime.state}.")

    return each(names, stop)
