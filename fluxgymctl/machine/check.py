# SPDX-License-Identifier: Apache-2.0
"""`check`: whether this machine is ready to train, with a remedy for each problem."""

import click

from fluxgym.protocol.machine_messages import CheckOutcome, CheckResult
from fluxgym.protocol.machine_methods import CHECK_MACHINE
from fluxgym.protocol.methods import Nothing
from fluxgymctl.manual import epilog
from fluxgymctl.output import plain, write, write_json
from fluxgymctl.session import Session, common_options

PROBLEM = 1
INDENT = " " * 9


@click.command("check", epilog=epilog("check", ends=f"0 no problem, {PROBLEM} a problem"))
@common_options
@click.pass_obj
def command(session: Session) -> int:
    """Checks whether this machine is ready to train.

    Checks the GPUs, how jobs are run, linger, the disk, the model files, the trainer, and what the daemon reports.
    Each problem comes with a remedy. Nothing is changed.
    """
    problem = False
    with session.connect() as connection:
        for reply in connection.stream(CHECK_MACHINE, Nothing()):
            if reply.check is None:
                continue
            problem = problem or reply.check.outcome is CheckOutcome.PROBLEM
            if session.json:
                write_json(reply.check)
            else:
                for line in lines(reply.check):
                    write(line)
    return PROBLEM if problem else 0


def lines(result: CheckResult) -> list[str]:
    """The result, and below it what to do."""
    below = [result.remedy] if result.remedy is not None else []
    if result.command is not None and result.command not in (result.remedy or ""):
        below.append(f"Try: {result.command}")
    return [plain(f"{result.outcome:<8} {result.name}: {result.text}"), *(plain(INDENT + line) for line in below)]
