# SPDX-License-Identifier: Apache-2.0
"""`wait`: prints nothing, and exits when all the jobs have ended, with an exit status that says how."""

import click

from fluxgym.protocol.methods import DESCRIBE, JobName
from fluxgymctl import follow, outcome
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command(
    "wait",
    epilog=epilog("wait my-lora", "wait my-lora other-lora", ends=f"{outcome.HELP}; for several jobs, the highest"),
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Waits until jobs have ended.

    An interrupted job will be resumed, so this waits for it too. Ctrl-C ends only this command; the jobs continue.
    """
    for name in names:  # A name that does not exist is reported at once, not after another job's hours.
        session.call(DESCRIBE, JobName(name=name))
    try:
        return max(wait(session, name) for name in names)
    except KeyboardInterrupt:
        return outcome.interrupted(*names)


def wait(session: Session, name: str) -> int:
    """Waits for one job, which existed a moment ago, and returns the exit status for its end."""
    for reply in follow.changes(session, name, note=note, existed=True):
        status = outcome.of(reply)
        if status is not None:
            if session.json and reply.job is not None:
                write_json(reply.job)
            return status
    raise AssertionError("follow.changes does not end")
