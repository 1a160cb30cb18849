# SPDX-License-Identifier: Apache-2.0
"""`events`: what happens to all jobs, as it happens or since a cursor."""

import click

from fluxgym.protocol.event_methods import EVENTS, EventsParameters, EventsReply
from fluxgymctl import follow, outcome
from fluxgymctl.manual import epilog
from fluxgymctl.output import GAP, note, plain, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

RESET = "The events since then are unknown, because jobs were removed or restored; see `fluxgymctl list`."


@click.command("events", epilog=epilog("events -f", "events my-lora", "events -f --json --after CURSOR"))
@click.argument("name", required=False)
@click.option("-f", "--follow", "follows", is_flag=True, help="Print what happens from now on, or after the cursor.")
@click.option("--after", metavar="CURSOR", help="Only events after the `cursor` of an earlier --json line.")
@common_options
@click.pass_obj
def command(session: Session, name: str | None, *, follows: bool, after: str | None) -> int:
    """Shows what has happened to all jobs, or to one.

    Without --follow, shows all recorded events, the oldest job first. Prints one line for each event, with its local
    time; --json prints each reply, some of which have a cursor.
    """
    try:
        if follows:
            for reply in follow.events(session, name, after=after, note=note):
                show(reply, as_json=session.json)
        else:
            with session.connect() as connection:
                for reply in connection.stream(EVENTS, EventsParameters(after=after, name=name)):
                    show(reply, as_json=session.json)
    except KeyboardInterrupt:
        return outcome.interrupted()
    return 0


def show(reply: EventsReply, *, as_json: bool) -> None:
    if as_json:
        write_json(reply)
        return
    if reply.reset:
        note(RESET)
    if reply.event is not None:
        write(line(reply))


def line(reply: EventsReply) -> str:
    event = reply.event
    assert event is not None
    return GAP.join((words.timestamp(event.at), plain(event.job), plain(event.text)))
