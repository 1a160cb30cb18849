# SPDX-License-Identifier: Apache-2.0
"""`logs`: the trainer's output, byte for byte as the daemon gives it."""

import click

from fluxgym.methods import LOGS, LogsParameters, LogsReply
from fluxgymctl import follow as streams
from fluxgymctl.output import note, write_json, write_raw
from fluxgymctl.session import Session, common_options


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until the job has ended.")
@click.option("-n", "--lines", type=click.IntRange(min=1), metavar="N", help="Begin with the last N lines.")
@common_options
@click.pass_obj
def command(session: Session, name: str, *, follow: bool, lines: int | None) -> None:
    """Prints the training log of a job."""
    offset = -lines if lines else 0
    if follow:
        for piece in streams.log(session, name, offset, note=note):
            show(session, piece)
        return
    with session.connect() as connection:
        for piece in connection.stream(LOGS, LogsParameters(name=name, offset=offset)):
            show(session, piece)


def show(session: Session, piece: LogsReply) -> None:
    if session.json:
        write_json(piece)
    elif piece.text:
        write_raw(piece.text)
