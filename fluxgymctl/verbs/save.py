# SPDX-License-Identifier: Apache-2.0
"""`save`: asks running trainings to save a checkpoint and a LoRA."""

import click

from fluxgym.protocol.methods import JobName
from fluxgym.protocol.steering_methods import SAVE_NOW
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note
from fluxgymctl.session import Session, common_options


@click.command("save", epilog=epilog("save my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Asks running trainings to save a checkpoint and a LoRA and then continue.

    The trainer saves after its current step or, if it is still loading, after its first one. `fluxgymctl checkpoints`
    shows the checkpoint. Like every checkpoint it is deleted when keep_states newer ones exist; the LoRA stays. Only
    FluxGym's trainer can be asked.
    """

    def save(name: str) -> None:
        session.call(SAVE_NOW, JobName(name=name))
        note(f"{name} will save after the current step; `fluxgymctl checkpoints {name}` then shows the checkpoint.")

    return each(names, save)
