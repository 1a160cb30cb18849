# SPDX-License-Identifier: Apache-2.0
"""`watchdog`: whether a job hangs, and the reasons for this verdict."""

import time

import click

from fluxgym.messages import Verdict, WatchdogMode
from fluxgym.methods import WATCHDOG, JobName, WatchdogReply
from fluxgymctl import words
from fluxgymctl.manual import epilog
from fluxgymctl.output import plain, write, write_json, write_table
from fluxgymctl.session import Session, common_options

HEADER = ("RULE", "LEFT", "LIMIT", "CONDITION")

_MODES = {
    WatchdogMode.OFF: "Its watchdog is off, so hangs are not detected.",
    WatchdogMode.WARN: "If it hangs, the hang is reported and the job is left alone.",
    WatchdogMode.ACT: "If it hangs, the hang is reported, evidence is saved, and the job is stopped and resumed.",
}


@click.command("watchdog", epilog=epilog("watchdog my-lora"))
@click.argument("name")
@common_options
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Shows whether a job hangs, and the reasons for that verdict.

    Shows what the job is doing, what moved last, which limits apply at present and how much of each is left, and what
    its GPUs report. A stuck job will not continue on its own; a suspicious one may still be fine.
    """
    reply = session.call(WATCHDOG, JobName(name=name))
    if session.json:
        write_json(reply)
        return
    for line in lines(name, reply, now=time.time()):
        write(plain(line))
    if reply.limits:
        write("")
        write_table(HEADER, rows(reply))


def lines(name: str, reply: WatchdogReply, *, now: float) -> list[str]:
    """The verdict, then one sentence per line."""
    since = f" since {words.moment(reply.since, now=now)}" if reply.since is not None else ""
    head = f"{name} is {words.name(reply.verdict)}{since}."
    if reply.verdict is Verdict.NOT_WATCHED and reply.why is not None:
        head = f"{name} is not watched: {reply.why}"
    mode = _MODES.get(reply.mode, "This version does not know what the daemon does about a hang.")
    # The daemon's sentences give the reasons. A newer daemon's verdict may come without any.
    told = reply.explanation or ([reply.why] if reply.why and reply.verdict is not Verdict.NOT_WATCHED else [])
    off = reply.mode is WatchdogMode.OFF and reply.verdict is Verdict.NOT_WATCHED
    return [head, *told, *([] if off else [mode])]


def rows(reply: WatchdogReply) -> list[tuple[str, ...]]:
    return [
        (
            limit.rule,
            "over" if limit.left <= 0 else words.duration(limit.left),
            words.duration(limit.limit),
            limit.what,
        )
        for limit in reply.limits
    ]
