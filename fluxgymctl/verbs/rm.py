# SPDX-License-Identifier: Apache-2.0
"""`rm`: removes jobs. `restore` brings them back. With --now, or if the daemon keeps no removed jobs, it deletes them
for good, and asks first on a terminal, but not in a script, like rm(1)."""

import sys

import click

from fluxgym.errors import InterfaceNotFound, MethodNotFound
from fluxgym.protocol.machine_methods import SETTINGS
from fluxgym.protocol.methods import REMOVE, Nothing, RemoveParameters
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options

TRASH_DAYS = "jobs.trash_days"


@click.command("rm", epilog=epilog("rm my-lora", "rm --now --yes my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--now", is_flag=True, help="Delete the jobs for good, even those already removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before deleting for good.")
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, now: bool, yes: bool) -> int:
    """Removes jobs that neither run nor wait; `stop` them first.

    Without --now, `fluxgymctl restore` brings them back with all of their files. They keep their disk space for as
    long as the setting jobs.trash_days says, or until the disk runs low. If that is 0, or the daemon is an older one,
    they are deleted at once.
    """
    asks = not yes and sys.stdin.isatty() and (now or not _kept(session))

    def remove(name: str) -> None:
        question = f"Delete {name} with its LoRA, its checkpoints and its log for good?"
        if asks and not click.confirm(question, err=True):
            return
        reply = session.call(REMOVE, RemoveParameters(name=name, now=now or None))
        if session.json:
            write_json(reply)
        elif reply.removed is None:
            note(f"{name} is deleted.")
        else:
            note(f"{name} is removed; `fluxgymctl restore {name}` brings it back.")

    return each(names, remove)


def _kept(session: Session) -> bool:
    """Whether the daemon keeps what is removed. One that does not know the question has no trash either."""
    try:
        settings = session.call(SETTINGS, Nothing()).settings
    except (InterfaceNotFound, MethodNotFound):
        return False
    return any(setting.key == TRASH_DAYS and float(setting.value) > 0 for setting in settings)
