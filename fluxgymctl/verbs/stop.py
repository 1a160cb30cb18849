# SPDX-License-Identifier: Apache-2.0
"""`stop`: stops running jobs, which save first, and cancels queued ones."""

import click

from fluxgym.protocol.messages import Kind, State
from fluxgym.protocol.methods import STOP, StopParameters
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("stop", epilog=epilog("stop my-lora", "stop --after-checkpoint my-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--after-checkpoint",
    is_flag=True,
    help="First wait for the job's next complete checkpoint, for a trainer that does not save when stopped.",
)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, after_checkpoint: bool) -> int:
    """Stops running jobs and cancels queued ones.

    A running job saves first and can be resumed. The command returns at once; `fluxgymctl wait` waits for the end.
    A second `stop` without --after-checkpoint no longer waits for the checkpoint.
    """

    def stop(name: str) -> None:
        job = session.call(STOP, StopParameters(name=name, after_checkpoint=after_checkpoint or None)).job
        if session.json:
            write_json(job)
        elif job.runtime.state is State.STOPPING:
            saves = "its program was asked to exit" if job.context.kind is Kind.PROGRAM else "the trainer saves first"
            note(f"{name} is stopping: {'it waits for its next checkpoint' if after_checkpoint else saves}.")
            if job.runtime.reason is not None:
                note(job.runtime.reason)
        elif job.runtime.state is State.LOST:
            known = filter(None, (job.runtime.reason, job.runtime.advice))
            note(f"{name} will be stopped, but it is lost. {' '.join(known)}")
        else:
            note(f"{name} is {job.runtime.state}.")

    return each(names, stop)
