# SPDX-License-Identifier: Apache-2.0
"""The present verdict in plain words, for `fluxgymctl watchdog NAME`. Pure.

It says what the job does, what moved last and when, which limit comes next and how much of it is left, and what the
GPUs show.
"""

from fluxgymd.core.measures.span import span
from fluxgymd.core.watchdog.judge import rules
from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.signs import gpus, machine, processes
from fluxgymd.core.watchdog.trail import Trail
from fluxgymd.core.watchdog.verdict import Healthy, Stuck, Suspicious, Verdict

SIGNS = {
    "steps": "a step",
    "items": "a picture, a sample or a part of a step",
    "files": "a file of its output",
    "log": "its log",
    "processor": "its processor time",
    "input and output": "its input and output",
    "GPU": "its GPU",
}

OF_PROGRESS = ("step", "progress", "gpu_fault")
"""The rules whose clocks pause while the progress is unknown."""


def explain(trail: Trail, limits: Limits, verdict: Verdict, now: float) -> list[str]:
    """Sentences, the most important ones first. `now`: wall clock."""
    if trail.looks == 0:
        return ["The watchdog has not looked at it yet."]
    return [
        *_verdict(verdict, now),
        _phase(trail),
        _moved_last(trail, now),
        *_limits(trail, limits),
        *processes(trail),
        *gpus(trail),
        *machine(trail),
    ]


def _verdict(verdict: Verdict, now: float) -> list[str]:
    match verdict:
        case Healthy():
            return ["It is making progress."]
        case Suspicious(why=why, since=since):
            return [f"Suspicious for {span(now - since)}: {why}"]
        case Stuck(why=why, since=since):
            return [f"Stuck; its work stopped {span(now - since)} ago: {why}"]


def _phase(trail: Trail) -> str:
    lasts = span(trail.phase_lasts.seconds) if trail.phase_lasts else "an unknown time"
    if trail.phase is None:
        why = trail.last.untold_why if trail.last is not None else None
        reason = "It does not report what it is doing" if why is None else f"Its progress is unknown because {why}"
        return f"{reason}; the watchdog checks only for a complete standstill."
    step, look = trail.counters.step, trail.last
    total = f" of {look.total_steps}" if look and look.total_steps else ""
    at = f" at step {step}{total}" if step is not None else ""
    repeats = "; it is repeating steps that it has already done" if trail.counters.repeats else ""
    return f"It has been {trail.phase.value} for {lasts}{at}{repeats}."


def _moved_last(trail: Trail, now: float) -> str:
    if not trail.moved_at:
        return "No movement has been seen yet."
    latest = max(trail.moved_at.values())
    names = [sign for name, sign in SIGNS.items() if trail.moved_at.get(name) == latest]
    return f"Last movement, {span(now - latest)} ago: {', '.join(names)}."


def _limits(trail: Trail, limits: Limits) -> list[str]:
    """The limit that is reached first if nothing changes, and the time until then."""
    running = rules(trail, limits)
    if trail.untold is not None:
        running = [rule for rule in running if rule.name not in OF_PROGRESS]
    if not running:
        return []
    next_one = min(running, key=lambda rule: rule.left)
    if next_one.left <= 0:
        return [f"The limit {next_one.name} has been reached: {next_one.sentence}"]
    until = f"If nothing changes, it will count as stuck in {span(next_one.left)}"
    return [f"{until} by the rule {next_one.name} (its limit is {span(next_one.limit)})."]
