# SPDX-License-Identifier: Apache-2.0
"""`sample`: asks running trainings to draw samples."""

import click

from fluxgym.protocol.methods import JobName
from fluxgym.protocol.steering_methods import SAMPLE_NOW
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note
from fluxgymctl.session import Session, common_options


@click.command("sample", epilog=epilog("sample my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Asks running trainings to draw samples of their prompts and then continue.

    The trainer draws them after its current step or, if it is still loading, after its first one. Use `fluxgymctl
    samples` to see them. Only FluxGym's trainer can be asked.
    """

    def sample(name: str) -> None:
        session.call(SAMPLE_NOW, JobName(name=name))
        note(f"{name} draws its samples after its current step; `fluxgymctl samples {name}` shows them.")

    return each(names, sample)
