# SPDX-License-Identifier: Apache-2.0
"""`checkpoints`: the checkpoints of a job, and which of them are complete."""

import time

import click

from fluxgym.protocol.messages import Checkpoint
from fluxgym.protocol.methods import CHECKPOINTS, JobName
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("NAME", "EPOCH", "STEP", "SIZE", "AGE", "CONDITION")


@click.command("checkpoints", epilog=epilog("checkpoints my-lora"))
@click.argument("name")
@common_options
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Shows the checkpoints of a job, newest first."""
    found = session.call(CHECKPOINTS, JobName(name=name)).checkpoints
    if session.json:
        for checkpoint in found:
            write_json(checkpoint)
    elif not found:
        note(f"{name} has no checkpoint yet.")
    else:
        write_table(HEADER, rows(found, now=time.time()))


def rows(found: list[Checkpoint], *, now: float) -> list[tuple[str, ...]]:
    return [
        (
            checkpoint.name,
            words.text(checkpoint.epoch),
            words.text(checkpoint.step),
            words.size(checkpoint.size),
            words.age(checkpoint.created_at, now=now),
            condition(checkpoint),
        )
        for checkpoint in found
    ]


def condition(checkpoint: Checkpoint) -> str:
    if checkpoint.problem is not None:
        return checkpoint.problem
    return "complete" if checkpoint.complete else "incomplete"
