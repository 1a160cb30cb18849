# SPDX-License-Identifier: Apache-2.0
"""`release`: lets held jobs wait for their turn again."""

import click

from fluxgym.protocol.methods import RELEASE, JobName
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options


@click.command("release", epilog=epilog("release my-lora"))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(session: Session, names: tuple[str, ...]) -> int:
    """Releases held jobs, so that they wait for their turn.

    They keep their places in the queue.
    """

    def release(name: str) -> None:
        job = session.call(RELEASE, JobName(name=name)).job
        if session.json:
            write_json(job)
        else:
            note(f"{name} is released and waits for its turn.")

    return each(names, release)
