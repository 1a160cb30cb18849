# SPDX-License-Identifier: Apache-2.0
"""`samples`: the pictures that a training has drawn."""

import click

from fluxgym.protocol.methods import JobName
from fluxgym.protocol.output_messages import Sample
from fluxgym.protocol.output_methods import SAMPLES
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("EPOCH", "STEP", "PROMPT", "SEED", "PATH", "TEXT")


@click.command("samples", epilog=epilog("samples my-lora"))
@click.argument("name")
@common_options
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Shows the samples of a training, in order: when each was drawn, and from which prompt and seed.

    PROMPT is the number of the prompt, from 0, as in the file name.
    """
    found = session.call(SAMPLES, JobName(name=name)).samples
    if session.json:
        for sample in found:
            write_json(sample)
    elif found:
        write_table(HEADER, rows(found))
    else:
        note(f"{name} has no samples yet.")


def rows(found: list[Sample]) -> list[tuple[str, ...]]:
    return [
        (
            words.text(sample.epoch),
            words.text(sample.step),
            str(sample.number),
            words.text(sample.seed),
            sample.path,
            words.text(sample.prompt),
        )
        for sample in found
    ]
