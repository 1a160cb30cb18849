# SPDX-License-Identifier: Apache-2.0
"""`dataset undo`: takes a change back."""

import click

from fluxgym.protocol.dataset_methods import UNDO, UndoParameters
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("undo", epilog=epilog("dataset undo cats", "dataset undo cats --change 7"))
@click.argument("name")
@click.option("--change", metavar="N", callback=read_count, help="The change's number; `dataset show` lists them.")
@common_options
@click.pass_obj
def command(session: Session, name: str, change: int | None) -> None:
    """Undoes a change: the last one that is in effect, or the one with a number.

    An undo is a change too: undo its number to bring the change back.
    """
    reply = session.call(UNDO, UndoParameters(name=name, change=change))
    if session.json:
        write_json(reply.undone)
    else:
        number = reply.dataset.revision
        note(f"Undone: {reply.undone.text} To bring it back, run `fluxgymctl dataset undo {name} --change {number}`.")
