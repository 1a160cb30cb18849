# SPDX-License-Identifier: Apache-2.0
"""`watchdog`: whether a job hangs, and the reasons for this verdict. Also sets what FluxGym does about a hang."""

import time

import click

from fluxgym.protocol.messages import Verdict, WatchdogMode
from fluxgym.protocol.methods import WATCHDOG, JobName, WatchdogReply
from fluxgym.protocol.steering_methods import SET_WATCHDOG, SetWatchdogParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, plain, write, write_json, write_table
from fluxgymctl.prose import times, words
from fluxgymctl.session import Session, common_options

HEADER = ("RULE", "LEFT", "LIMIT", "CONDITION")

_MODES = {
    WatchdogMode.OFF: "Its watchdog is off, so hangs are not detected.",
    WatchdogMode.WARN: "If it hangs, the hang is reported and the job is left alone.",
    WatchdogMode.ACT: "If it hangs, the hang is reported, evidence is saved, and the job is stopped and resumed.",
}


@click.command(
    "watchdog",
    epilog=epilog(
        "watchdog my-lora",
        "watchdog my-lora --mode off --for 1h",
        "watchdog my-lora --mode warn --until 07:30",
        "watchdog my-lora --mode act",
    ),
)
@click.argument("name")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in _MODES]),
    help="Set what FluxGym does about a hang; takes effect at once, even while the job runs.",
)
@click.option("--for", "lasts", metavar="TIME", help="How long the mode applies: 90s, 30min, 1h, 1h30min or 2d.")
@click.option("--until", metavar="TIME", help="When the mode ends: 14:30 (the next one) or 2026-12-24 14:30.")
@common_options
@click.pass_obj
def command(session: Session, name: str, *, mode: str | None, lasts: str | None, until: str | None) -> None:
    """Shows whether a job hangs, and the reasons for that verdict. With --mode, sets what FluxGym does about a hang.

    Shows what the job is doing, what moved last, which limits apply at present and how much of each is left, and what
    its GPUs report. A stuck job will not continue on its own; a suspicious one may still be fine.

    off: hangs are not detected. warn: they are reported, and the job is left alone. act: evidence is saved, and the
    job is stopped and resumed. With --for or --until, the mode of the job's settings applies again after that time.
    """
    if mode is not None:
        _set(session, name, mode, until=_end(lasts, until, now=time.time()))
        return
    if lasts is not None or until is not None:
        raise click.UsageError("--for and --until need --mode.")
    reply = session.call(WATCHDOG, JobName(name=name))
    if session.json:
        write_json(reply)
        return
    for line in lines(name, reply, now=time.time()):
        write(plain(line))
    if reply.limits:
        write("")
        write_table(HEADER, rows(reply))


def _end(lasts: str | None, until: str | None, *, now: float) -> float | None:
    if lasts is not None and until is not None:
        raise click.UsageError("--for and --until cannot both be given.")
    try:
        if lasts is not None:
            return now + times.duration(lasts)
        return None if until is None else times.moment(until, now=now)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _set(session: Session, name: str, mode: str, *, until: float | None) -> None:
    asked = SetWatchdogParameters(name=name, mode=WatchdogMode(mode), until=until)
    job = session.call(SET_WATCHDOG, asked).job
    if session.json:
        write_json(job)
        return
    ends = f" until {words.moment(until, now=time.time())}" if until is not None else ""
    note(f"The watchdog of {name} is set to {mode}{ends}.")


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
    passing = []
    if reply.until is not None and reply.then is not None:
        ends = words.moment(reply.until, now=now)
        passing = [f"Its mode is {words.name(reply.mode)} until {ends}, then {words.name(reply.then)}."]
    return [head, *told, *([] if off else [mode]), *passing]


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
