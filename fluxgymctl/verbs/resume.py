# SPDX-License-Identifier: Apache-2.0
"""`resume`: queues stopped or failed jobs again."""

import click

from fluxgym.methods import RESUME, JobName
from fluxgymctl.each import each
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("resume")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Queues stopped or failed jobs again.

    Each goes on from its newest complete checkpoint.
    """

    def resume(name: str) -> None:
        job = session.call(RESUME, JobName(name=name)).job
        if session.json:
            write_json(job)
        else:
            note(f"{name} is {job.runtime.state}.")

    return each(names, resume)
