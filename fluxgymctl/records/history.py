# SPDX-License-Identifier: Apache-2.0
"""`history`: what happened to a job according to its journal, for example while the user was away."""

import click

from fluxgym.protocol.methods import HISTORY, HistoryReply, JobName
from fluxgymctl.manual import epilog
from fluxgymctl.output import GAP, plain, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options


@click.command("history", epilog=epilog("history my-lora"))
@click.argument("name")
@common_options
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Shows what happened to a job, oldest first.

    Prints one line for each event, with its local time.
    """
    with session.connect() as connection:
        for entry in connection.stream(HISTORY, JobName(name=name)):
            if entry.at is None:  # the last reply, which only ends the stream
                continue
            if session.json:
                write_json(entry)
            else:
                write(line(entry))


def line(entry: HistoryReply) -> str:
    return f"{words.timestamp(entry.at)}{GAP}{plain(words.text(entry.text))}"
