# SPDX-License-Identifier: Apache-2.0
"""`search`: the lines of a job's log that contain a text."""

import click

from fluxgym.protocol.output_messages import LogMatch
from fluxgym.protocol.output_methods import SEARCH_LOG, SearchLogParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, plain, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options


@click.command("search", epilog=epilog('search my-lora "out of memory"', "search my-lora --regex 'epoch [0-9]+/16'"))
@click.argument("name")
@click.argument("text")
@click.option("--regex", is_flag=True, help="TEXT is a case-sensitive regular expression (RE2).")
@common_options
@click.pass_obj
def command(session: Session, name: str, text: str, *, regex: bool) -> int:
    """Shows the lines of a job's log that contain TEXT, each with its number.

    Case is ignored. If a progress bar rewrites a line, only its last state is searched. The exit status is 1 if
    nothing is found.
    """
    found = False
    with session.connect() as connection:
        for reply in connection.stream(SEARCH_LOG, SearchLogParameters(name=name, text=text, regex=regex or None)):
            if reply.match is None:  # the last reply, which only ends the stream
                continue
            found = True
            if session.json:
                write_json(reply.match)
            else:
                write(line(reply.match))
    if not found:
        note(f"The log of {name} does not contain {text}.")
    return 0 if found else 1


def line(match: LogMatch) -> str:
    return f"{words.text(match.line)}: {plain(match.text)}"
