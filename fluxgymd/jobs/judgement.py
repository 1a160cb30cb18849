# SPDX-License-Identifier: Apache-2.0
"""What clients see of the watchdog: its verdict on a running attempt, and what the attempt's GPUs are doing.

A verdict is reported only while the attempt is watched. A hang for which the attempt is being stopped is part of the
job itself, so a daemon that was restarted in the meantime reports it too.
"""

from typing import assert_never

import msgspec

from fluxgym.config import Config
from fluxgym.protocol import messages as m
from fluxgym.protocol.methods import WatchdogReply
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Job, Live, acted_on
from fluxgymd.core.watchdog import settings
from fluxgymd.core.watchdog.judge import Rule, rules
from fluxgymd.core.watchdog.verdict import Healthy, Stuck, Suspicious, Verdict
from fluxgymd.core.watchdog.watched import why_not
from fluxgymd.core.watchdog.words import explain
from fluxgymd.jobs.entry import Entry
from fluxgymd.trainers.choice import traits


def judgement(entry: Entry) -> m.Judgement | None:
    """The present verdict. None: the job is not watched, or has not been looked at yet."""
    job = entry.job
    if job is None or entry.damage is not None or not isinstance(job.state, Live):
        return None
    hang = acted_on(job.state.attempt)
    if hang is not None:
        return m.Judgement(verdict=m.Verdict.STUCK, why=hang.why, since=hang.since)
    if entry.now.verdict is None or why_not(job) is not None:
        return None
    return _told(entry.now.verdict)


def readings(entry: Entry) -> list[m.GpuReading] | None:
    """Readings of the running attempt's GPUs. None: nothing runs, or there are no readings."""
    job = entry.job
    if job is None or not isinstance(job.state, Live):
        return None
    if not job.state.attempt.gpus:
        return []
    return None if entry.now.gpus is None else [_reading(gpu) for gpu in entry.now.gpus]


def explained(entry: Entry, config: Config, *, now: float) -> WatchdogReply:
    """The verdict with everything that it was concluded from. `now`: seconds, wall clock."""
    job = entry.job
    passing = settings.passing_mode(job, now=now) if job is not None and entry.damage is None else None
    reply = _explained(entry, config, now=now)
    if job is None or passing is None:
        return reply
    return msgspec.structs.replace(reply, until=passing.until, then=_mode(job, config, now=passing.until))


def _explained(entry: Entry, config: Config, *, now: float) -> WatchdogReply:
    job = entry.job
    if job is None or entry.damage is not None:
        why = "Its journal is damaged, so its state is unknown."
        return _not_watched(why, m.WatchdogMode(config.watchdog_mode))
    mode = _mode(job, config, now=now)
    found = judgement(entry)
    if found is None:
        return _not_watched(_why_not(job, mode), mode)
    sentences: list[str] = []
    counting: list[Rule] = []
    hang = acted_on(job.state.attempt) if isinstance(job.state, Live) else None
    if hang is not None:
        sentences = [why_not(job) or "", hang.why, *hang.evidence]
    elif entry.now.trail is not None and entry.now.verdict is not None:
        limits = settings.limits(config.watchdog_limits, job.context.watchdog_limits)
        sentences = explain(entry.now.trail, limits, entry.now.verdict, now)
        counting = sorted(rules(entry.now.trail, limits), key=lambda rule: rule.left)
    return WatchdogReply(
        mode=mode,
        verdict=found.verdict,
        why=found.why,
        since=found.since,
        phase=entry.now.trail.phase if entry.now.trail is not None else None,
        explanation=sentences,
        limits=[_limit(rule) for rule in counting],
    )


def _mode(job: Job, config: Config, *, now: float) -> m.WatchdogMode:
    return settings.mode(job, config.watchdog_mode, watched=traits(job.context).watched, now=now)


def _told(verdict: Verdict) -> m.Judgement:
    match verdict:
        case Healthy():
            return m.Judgement(verdict=m.Verdict.HEALTHY)
        case Suspicious(why=why, since=since):
            return m.Judgement(verdict=m.Verdict.SUSPICIOUS, why=why, since=since)
        case Stuck(why=why, since=since):
            return m.Judgement(verdict=m.Verdict.STUCK, why=why, since=since)
        case _:
            assert_never(verdict)


def _not_watched(why: str, mode: m.WatchdogMode) -> WatchdogReply:
    return WatchdogReply(mode=mode, verdict=m.Verdict.NOT_WATCHED, why=why, explanation=[], limits=[])


def _why_not(job: Job, mode: m.WatchdogMode) -> str:
    why = why_not(job)
    if why is not None:
        return why
    if mode is m.WatchdogMode.OFF:
        return "Its watchdog is off."
    return "The watchdog has not looked at it yet."


def _limit(rule: Rule) -> m.RunningLimit:
    return m.RunningLimit(rule=rule.name, what=f"{rule.what}.", limit=rule.limit, left=rule.left)


def _reading(gpu: Reading) -> m.GpuReading:
    return m.GpuReading(
        index=gpu.index,
        uuid=gpu.uuid,
        memory_total=gpu.memory_total,
        memory_used=gpu.memory_used,
        utilization=gpu.utilization,
        temperature=gpu.temperature,
        power_draw=gpu.power_draw,
        power_limit=gpu.power_limit,
        lost=gpu.lost,
    )
