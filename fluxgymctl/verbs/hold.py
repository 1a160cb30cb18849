# SPDX-License-Identifier: Apache-2.0
"""`hold`: keeps waiting jobs from being started."""

import click

from fluxgym.protocol.methods import HOLD, JobName
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("hold", epilog=epilog("hold my-lora other-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Keeps waiting jobs from starting.

    They keep their places in the queue until `fluxgymctl release`.
    """

    def hold(name: str) -> None:
        job = session.call(HOLD, JobName(name=name)).job
        if session.json:
            write_json(job)
        else:
            note(f"{name} is held; `fluxgymctl release {name}` lets it start.")

    return each(names, hold)
