# SPDX-License-Identifier: Apache-2.0
"""`prune`: deletes older checkpoints of jobs."""

import click

from fluxgym.protocol.methods import PRUNE_STATES, PruneStatesParameters
from fluxgymctl.count import INT_LIMIT
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options


@click.command("prune", epilog=epilog("prune my-lora", "prune --keep 0 my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--keep", default="1", metavar="N", help="How many of the newest checkpoints to keep (default: 1).")
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...], *, keep: str) -> int:
    """Deletes the older checkpoints of jobs that do not run, to free space. LoRAs and samples stay.

    A job that is completed needs no checkpoint. Without any, a job that has not finished starts over when it is
    resumed; a waiting job therefore keeps the newest one.
    """
    if not keep.isdecimal() or len(keep) > 19 or int(keep) >= INT_LIMIT:
        raise click.UsageError(f"--keep is {keep!r}, but must be a whole number of at least 0.")

    def prune(name: str) -> None:
        reply = session.call(PRUNE_STATES, PruneStatesParameters(name=name, keep=int(keep)))
        if session.json:
            write_json(reply)
        elif reply.removed:
            count = f"{len(reply.removed)} checkpoint{'' if len(reply.removed) == 1 else 's'}"
            note(f"{name}: {count} deleted, which freed {words.size(reply.freed)}.")
        else:
            note(f"{name} has no checkpoints to delete.")

    return each(names, prune)
