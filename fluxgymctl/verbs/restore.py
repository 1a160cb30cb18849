# SPDX-License-Identifier: Apache-2.0
"""`restore`: brings removed jobs back."""

import click

from fluxgym.protocol.methods import RESTORE, JobName
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("restore", epilog=epilog("restore my-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Brings removed jobs back, each with all of its files.

    NAME is a job's name or its id; of several removed jobs with the same name, the most recently removed one comes
    back. `fluxgymctl list --removed` shows them.
    """

    def restore(name: str) -> None:
        job = session.call(RESTORE, JobName(name=name)).job
        if session.json:
            write_json(job)
        else:
            note(f"{job.context.name} is restored; it is {job.runtime.state}.")

    return each(names, restore)
