# SPDX-License-Identifier: Apache-2.0
"""`rm`: deletes jobs with their folders. It asks first on a terminal, but not in a script, like rm(1)."""

import sys

import click

from fluxgym.methods import REMOVE, JobName
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.session import Session, common_options


@click.command("rm", epilog=epilog("rm my-lora", "rm --yes my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, yes: bool) -> int:
    """Deletes jobs that neither run nor wait; `stop` them first.

    This also deletes their LoRAs, checkpoints and logs. On a terminal, it asks first.
    """

    def remove(name: str) -> None:
        question = f"Delete {name} with its LoRA, its checkpoints and its log?"
        if yes or not sys.stdin.isatty() or click.confirm(question, err=True):
            session.call(REMOVE, JobName(name=name))

    return each(names, remove)
