# SPDX-License-Identifier: Apache-2.0
"""`rm`: removes jobs. `restore` brings them back. With --now it deletes them, and asks first on a terminal, but not
in a script, like rm(1)."""

import sys

import click

from fluxgym.methods import REMOVE, RemoveParameters
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("rm", epilog=epilog("rm my-lora", "rm --now --yes my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--now", is_flag=True, help="Delete the jobs for good, even those already removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation of --now.")
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, now: bool, yes: bool) -> int:
    """Removes jobs that neither run nor wait; `stop` them first.

    Without --now, `fluxgymctl restore` brings them back with all of their files. They keep their space on the disk
    for the days that the setting jobs.trash_days says, or until the disk runs low.
    """

    def remove(name: str) -> None:
        question = f"Delete {name} with its LoRA, its checkpoints and its log for good?"
        if now and not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
            return
        reply = session.call(REMOVE, RemoveParameters(name=name, now=now or None))
        if session.json:
            write_json(reply)
        elif reply.removed is None:
            note(f"{name} is deleted.")
        else:
            note(f"{name} is removed; `fluxgymctl restore {name}` brings it back.")

    return each(names, remove)
