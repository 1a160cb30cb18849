# SPDX-License-Identifier: Apache-2.0
"""The verdict: healthy, suspicious or stuck. A pure function of the trail and the limits.

Each rule compares one clock of the trail with one limit. At the limit a training is stuck, at half of it suspicious.
While nothing changes the clocks keep running, so a verdict only gets worse until something moves. Stuck always comes
with evidence (promise 7), and never from a single look. docs/watchdog.md lists the rules.
"""

from dataclasses import dataclass

from fluxgym.protocol.messages import Phase
from fluxgymd.core.measures.span import span
from fluxgymd.core.watchdog.limits import Limits, PhaseLimits
from fluxgymd.core.watchdog.movement import disk_is_full
from fluxgymd.core.watchdog.signs import evidence
from fluxgymd.core.watchdog.trail import Stretch, Trail
from fluxgymd.core.watchdog.verdict import Healthy, Stuck, Suspicious, Verdict

UNREAD = "The progress that it has reported cannot be read."
SIGN_LOOKS = 4
"""Intervals for which threads have to wait, or memory has to be short, before the training is suspicious: during a
checkpoint both are normal for a minute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A limit that applies now, and the clock that runs towards it."""

    name: str
    what: str
    """What has lasted, as a sentence without the time, such as "Nothing moved at all"."""
    clock: Stretch
    limit: float

    @property
    def left(self) -> float:
        """Seconds until the limit; negative beyond it."""
        return self.limit - self.clock.seconds

    @property
    def sentence(self) -> str:
        return f"{self.what} for {span(self.clock.seconds)}; the limit is {span(self.limit)}."


def judge(trail: Trail, limits: Limits) -> Verdict:
    """The verdict on a training after its last look."""
    if trail.looks < 2:
        return Healthy()
    running = rules(trail, limits)
    over = next((rule for rule in running if rule.left <= 0), None)
    if over is not None:
        return Stuck(rule=over.name, why=over.sentence, since=over.clock.since, evidence=evidence(trail))
    near = [rule for rule in running if rule.clock.seconds >= rule.limit / 2]
    doubts = [*((rule.clock.since, rule.sentence) for rule in near), *_signs(trail, limits)]
    if doubts:
        return Suspicious(since=min(since for since, _ in doubts), why=doubts[0][1])
    return Healthy()


def rules(trail: Trail, limits: Limits) -> list[Rule]:
    """The rules that apply now. The first one over its limit names the hang, so the most certain ones come first."""
    found = [
        _rule("stopped", _held(trail), trail.stopped, limits.stopped),
        _rule(
            "gpu_fault",
            f"No work was done after a GPU error ({trail.fault_why})",
            _if_told(trail, trail.fault),
            limits.gpu_fault,
        ),
    ]
    own = limits.phases.get(trail.phase) if trail.phase is not None else None
    if own is None:
        found.append(_rule("still", "Nothing moved at all", trail.still, limits.without_phase))
    else:
        found += _of_phase(trail, limits, trail.phase or Phase.UNKNOWN, own)
    return [rule for rule in found if rule is not None]


def _of_phase(trail: Trail, limits: Limits, phase: Phase, own: PhaseLimits) -> list[Rule | None]:
    work = work_limit(trail, limits, phase)
    stepping = phase is Phase.TRAINING and trail.slowest(phase) is not None
    return [
        _rule("gpu_idle", "It did nothing on its GPU, and nothing else moved", _idle(trail, own), limits.gpu_idle),
        _rule("still", f"Nothing moved at all while {phase.value}", trail.still, own.still),
        _rule("step", "No step was finished", trail.work, work)
        if stepping
        else _rule("progress", f"No work was done while {phase.value}", trail.work, work),
        _rule("progress", "No step, picture or sample was finished", trail.counted, max(own.total, work)),
    ]


def work_limit(trail: Trail, limits: Limits, phase: Phase) -> float:
    """Seconds that a phase may go without work.

    Steps are alike, so their own history alone defines the limit, down to `step_floor`. Items of the other phases are
    not alike, so their history can only lengthen the limit.
    """
    own, slowest = limits.phases[phase].progress, trail.slowest(phase)
    if slowest is None:
        return own
    return max(limits.step_floor if phase is Phase.TRAINING else own, limits.step_factor * slowest)


def _rule(name: str, what: str, clock: Stretch | None, limit: float) -> Rule | None:
    return None if clock is None else Rule(name=name, what=what, clock=clock, limit=limit)


def _idle(trail: Trail, own: PhaseLimits) -> Stretch | None:
    """The clock of "GPU idle and all else still": the shorter of the two; None if the rule doesn't apply."""
    if not own.works_on_gpu or trail.gpu_idle is None or trail.still is None:
        return None
    return min(trail.gpu_idle, trail.still, key=lambda clock: clock.seconds)


def _if_told(trail: Trail, clock: Stretch | None) -> Stretch | None:
    """The clock if the phase is known, else None: an error of the GPU proves nothing about a trainer whose work can't
    be seen."""
    return clock if trail.phase is not None else None


def _held(trail: Trail) -> str:
    frozen = trail.last is not None and trail.last.activity is not None and trail.last.activity.frozen
    return "Its cgroup was frozen" if frozen else "Its process was stopped"


def _signs(trail: Trail, limits: Limits) -> list[tuple[float, str]]:
    """Signs of trouble that don't prove a hang: since when (wall clock), and a sentence."""
    found: list[tuple[float, str]] = []
    if trail.fault is not None:
        found.append((trail.fault.since, f"No work was counted after a GPU error ({trail.fault_why})."))
    elif trail.xids and trail.xids_since is not None:
        found.append((trail.xids_since, f"The driver reported Xid {trail.xids[-1]}, and no work was counted since."))
    if trail.stopped is not None:
        found.append((trail.stopped.since, f"{_held(trail)}."))
    if trail.blocked is not None and trail.blocked.seconds >= SIGN_LOOKS * limits.interval:
        found.append((trail.blocked.since, "Some of its threads wait in the kernel, and nothing is read or written."))
    if trail.pressed is not None and trail.pressed.seconds >= SIGN_LOOKS * limits.interval:
        found.append((trail.pressed.since, "Memory is short, and all of the job's tasks are waiting for it."))
    if trail.untold is not None and (why := _untold(trail, limits)) is not None:
        found.append((trail.untold.since, why))
    return found


def _untold(trail: Trail, limits: Limits) -> str | None:
    """A sentence on why the training's progress is unknown; None while that may still be temporary."""
    assert trail.untold is not None
    why = trail.last.untold_why if trail.last is not None else None
    if why is not None:
        return f"Its progress is unknown: {why}."
    if trail.untold.seconds < limits.step_floor:
        return None
    full = trail.last is not None and disk_is_full(trail.last)
    return "Its disk is full, so it cannot report its progress." if full else UNREAD
