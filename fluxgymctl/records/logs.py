# SPDX-License-Identifier: Apache-2.0
"""`logs`: the job's output, as the daemon returns it."""

import click

from fluxgym.protocol.methods import LOGS, LogsParameters, LogsReply
from fluxgymctl import follow as streams
from fluxgymctl import outcome
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_raw
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options


@click.command("logs", epilog=epilog("logs my-lora", "logs -n 20 -f my-lora"))
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new output until the job has ended.")
@click.option("-n", "--lines", callback=read_count, metavar="N", help="Start with the last N lines.")
@click.option("--limit", callback=read_count, metavar="BYTES", help="End after this many bytes of text.")
@common_options
@click.pass_obj
def command(session: Session, name: str, *, follow: bool, lines: int | None, limit: int | None) -> int:
    """Prints the log of a job.

    The log holds the output of its trainer or program, in all attempts. If a progress bar rewrites a line, only its
    last state is printed. Ctrl-C ends only this command; the job continues.
    """
    offset = -lines if lines else 0
    if follow and limit is not None:
        raise click.UsageError("--limit and --follow cannot be combined; give one of them.")
    if follow:
        try:
            for piece in streams.log(session, name, offset, note=note):
                show(session, piece)
        except KeyboardInterrupt:
            return outcome.interrupted(name)
        return 0
    end = 0
    with session.connect() as connection:
        for piece in connection.stream(LOGS, LogsParameters(name=name, offset=offset, limit=limit)):
            show(session, piece)
            end = piece.offset
    if end == 0:
        note(f"{name} has written nothing yet.")
    return 0


def show(session: Session, piece: LogsReply) -> None:
    if session.json:
        write_json(piece)
    elif piece.text:
        write_raw(piece.text)
    elif piece.missing:
        note(f"{words.size(piece.missing)} of the log are missing here, because it outgrew log.limit_mib.")
