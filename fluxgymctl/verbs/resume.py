# SPDX-License-Identifier: Apache-2.0
"""`resume`: queues stopped or failed jobs again."""

import click

from fluxgym.protocol.methods import RESUME, ResumeParameters
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("resume", epilog=epilog("resume my-lora", "resume my-lora --assume-gone"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--assume-gone",
    is_flag=True,
    help="Also resume a job that was lost on another machine. You confirm that none of its processes runs there any "
    "more, which this daemon cannot see. If one still does, two trainings write to the same folder and ruin it.",
)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, assume_gone: bool) -> int:
    """Queues stopped or failed jobs again.

    Each continues from its newest complete checkpoint.
    """

    def resume(name: str) -> None:
        reply = session.call(RESUME, ResumeParameters(name=name, assume_gone=assume_gone or None))
        for warning in reply.warnings or ():
            note(f"{name}: {warning}")
        if session.json:
            write_json(reply.job)
        else:
            note(f"{name} is {reply.job.runtime.state}.")

    return each(names, resume)
