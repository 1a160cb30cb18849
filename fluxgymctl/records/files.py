# SPDX-License-Identifier: Apache-2.0
"""`files`: the files that a job has written."""

import time

import click

from fluxgym.protocol.methods import JobName
from fluxgym.protocol.output_messages import JobFile
from fluxgym.protocol.output_methods import FILES
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("KIND", "EPOCH", "STEP", "SIZE", "AGE", "PATH")


@click.command("files", epilog=epilog("files my-lora", "files my-lora --kind lora"))
@click.argument("name")
@click.option("--kind", metavar="KIND", help="Only files of this kind, such as lora, state or sample.")
@common_options
@click.pass_obj
def command(session: Session, name: str, kind: str | None) -> None:
    """Shows the files that a job has written, newest first: LoRAs, checkpoints, samples, logs, settings.

    A checkpoint (kind: state) is a folder. The copied pictures are not shown.
    """
    found = session.call(FILES, JobName(name=name)).files
    chosen = [file for file in found if kind in (None, file.kind)]
    if session.json:
        for file in chosen:
            write_json(file)
    elif chosen:
        write_table(HEADER, rows(chosen, now=time.time()))
    else:
        note(f"{name} has no files of this kind." if found else f"{name} has no files yet.")


def rows(found: list[JobFile], *, now: float) -> list[tuple[str, ...]]:
    return [
        (
            words.name(file.kind),
            words.text(file.epoch),
            words.text(file.step),
            words.size(file.size),
            words.age(file.created_at, now=now),
            file.path,
        )
        for file in found
    ]
