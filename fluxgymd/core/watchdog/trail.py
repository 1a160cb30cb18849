# SPDX-License-Identifier: Apache-2.0
"""Folds the looks at one attempt into clocks: since when each thing has not moved. Needs constant memory; pure.

Times are seconds in which the machine is awake and the watchdog is looking: a longer gap between two looks (the
daemon was stopped, the virtual machine was paused) counts as one interval. If something is unknown at a look, its
clock neither runs nor restarts. Only counted work (a step, a picture, a sample) restarts the clocks of all work. A
change of phase restarts the clock of the phase's work only if the new phase hasn't been reported since the last
counted work, so that a trainer which cycles through its phases without a step is found.
docs/decisions/0044-the-verdict.md explains why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fluxgym.protocol.messages import Phase
from fluxgymd.core.watchdog import faults
from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.movement import PRESSURE, Counters, Movement, compare
from fluxgymd.core.watchdog.observation import Observation

MISSED = 2.5
"""Intervals. Two allow for one missed look, and a half for a late one; a longer gap counts as one interval."""
XIDS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """How long something has lasted."""

    since: float
    """Wall clock."""
    seconds: float = 0.0
    """Time awake and watched, which is less than the wall-clock time after a suspend."""

    def lasting(self, awake: float) -> "Stretch":
        return Stretch(self.since, self.seconds + awake)


@dataclass(frozen=True, slots=True)
class Took:
    """The longest time that one of the `items` found at one look took."""

    items: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trail:
    """The result of all looks so far. It starts as `begin(limits)`. The clocks are None before the first look."""

    interval: float
    history: int
    """For how many items of each phase times are kept."""
    gpu_idle_percent: float
    looks: int = 0
    last: Observation | None = None
    movement: Movement | None = None
    """Between the last two looks."""
    counters: Counters = field(default_factory=Counters)
    phase: Phase | None = None
    """As last reported."""
    phase_lasts: Stretch | None = None
    entered: frozenset[Phase] = frozenset()
    """Phases reported since the last counted work."""
    work: Stretch | None = None
    """None of the phase's work was done."""
    counted: Stretch | None = None
    """No step, picture or sample was finished, in any phase."""
    still: Stretch | None = None
    """Nothing at all moved."""
    gpu_idle: Stretch | None = None
    """All of the job's GPUs were idle. None: they work, or are not known to be idle."""
    stopped: Stretch | None = None
    """The trainer's process was stopped, or the attempt's cgroup was frozen."""
    blocked: Stretch | None = None
    """Threads wait in the kernel, and nothing is read or written."""
    pressed: Stretch | None = None
    """All tasks wait for memory much of the time."""
    untold: Stretch | None = None
    """The phase was known but can't be read at present, or there is a known reason why it can't."""
    fault: Stretch | None = None
    """No work was counted after an error that the GPU doesn't survive."""
    fault_why: str | None = None
    xids: tuple[int, ...] = ()
    """Xid events since the last counted work, the last XIDS_KEPT."""
    xids_since: float | None = None
    """The time of the first of these (wall clock)."""
    xids_known: faults.XidCounts = field(default_factory=dict)
    took: Mapping[Phase, tuple[Took, ...]] = field(default_factory=dict)
    """How long the last `history` items of each phase took."""
    moved_at: Mapping[str, float] = field(default_factory=dict)
    """Wall clock: when each sign of life was last seen."""

    def slowest(self, phase: Phase) -> float | None:
        """Seconds of the slowest of a phase's last items; None if there was none yet."""
        return max((took.seconds for took in self.took.get(phase, ())), default=None)


def begin(limits: Limits) -> Trail:
    """The trail before the first look."""
    return Trail(interval=limits.interval, history=limits.step_history, gpu_idle_percent=limits.gpu_idle_percent)


def follow(trail: Trail, look: Observation) -> Trail:
    """The trail after one more look."""
    counters, movement = compare(trail.counters, look, gpu_idle_percent=trail.gpu_idle_percent)
    awake = _awake(trail, look)
    trail = _clocks(trail, look, movement, awake)
    trail = _states(trail, look, movement, awake)
    trail = _faults(trail, look, movement, awake)
    return replace(
        trail,
        looks=trail.looks + 1,
        last=look,
        movement=movement,
        counters=counters,
        moved_at={**trail.moved_at, **{name: look.at for name, seen in movement.signs.items() if seen}},
    )


def _awake(trail: Trail, look: Observation) -> float:
    if trail.last is None:
        return 0.0
    gap = max(0.0, look.clock - trail.last.clock)
    return gap if gap <= MISSED * trail.interval else trail.interval


def _clocks(trail: Trail, look: Observation, movement: Movement, awake: float) -> Trail:
    """Updates the clocks of progress, and how long items took."""
    told = awake if movement.told else 0.0
    work = (trail.work or Stretch(look.at)).lasting(told)
    counted = (trail.counted or Stretch(look.at)).lasting(told)
    still = (trail.still or Stretch(look.at)).lasting(0.0 if movement.alive is None else awake)
    entered, phase_lasts = trail.entered, (trail.phase_lasts or Stretch(look.at)).lasting(awake)
    took = _remember(trail, look, movement, waited=work.seconds, awake=awake)
    changed = movement.phase is not trail.phase
    if movement.phase is not None and changed:
        if movement.phase not in entered:
            work = Stretch(look.at)
        entered, phase_lasts = entered | {movement.phase}, Stretch(look.at)
    if movement.counted:
        counted, entered = Stretch(look.at), frozenset({movement.phase} if movement.phase else ())
    return replace(
        trail,
        phase=movement.phase,
        phase_lasts=phase_lasts,
        entered=entered,
        work=Stretch(look.at) if movement.worked else work,
        counted=counted,
        still=Stretch(look.at) if movement.alive else still,
        took=took,
    )


def _remember(
    trail: Trail, look: Observation, movement: Movement, *, waited: float, awake: float
) -> Mapping[Phase, tuple[Took, ...]]:
    """`took` with the times of the work that this look found done. `waited`: seconds since the previous work;
    `awake`: seconds since the previous look."""
    took = trail.took
    seconds = _step_time(trail, look, movement, waited=waited, awake=awake)
    if seconds is not None:
        # movement.py doesn't count steps that were reported before a look first saw a step, but they were made.
        took = _with(took, Phase.TRAINING, Took(max(1, movement.steps), seconds), history=trail.history)
    phase = trail.phase
    if phase in (None, Phase.TRAINING):
        return took
    if movement.worked or movement.phase not in (phase, *trail.entered):
        took = _with(took, phase, Took(max(1, movement.items), waited), history=trail.history)
    return took


def _with(
    before: Mapping[Phase, tuple[Took, ...]], phase: Phase, new: Took, *, history: int
) -> Mapping[Phase, tuple[Took, ...]]:
    kept = (*before.get(phase, ()), new)
    while len(kept) > 1 and sum(took.items for took in kept[1:]) >= history:
        kept = kept[1:]
    return {**before, phase: kept}


def _step_time(trail: Trail, look: Observation, movement: Movement, *, waited: float, awake: float) -> float | None:
    """Seconds of the slowest step since the last look; None if there was none, or if its time is unknown.

    The trainer's own times are finer than the time between looks, but they are wall-clock times, which a suspend or a
    changed clock makes too long. If one of the two looks saw another phase, only the trainer's times say how long a
    step took, because the time between a step and another phase isn't a step. Without them, a training whose steps
    and checkpoints always come between two looks would have no history, and a hang in it would be found only by the
    limit for the first step."""
    told = look.longest_step
    if trail.phase is not Phase.TRAINING:
        # All these steps were made since the last look. A longer time comes from a changed clock or, at the first
        # look at a training that is already running, from an earlier step.
        return told if told is not None and 0 <= told <= awake + trail.interval else None
    if not movement.steps or (movement.phase is not Phase.TRAINING and told is None):
        return None
    # The first step of a phase has no previous step from which its time could be measured.
    first = Phase.TRAINING not in trail.took or trail.counted is None or (trail.work != trail.counted)
    if first or told is None:
        return waited
    return min(max(0.0, told), waited + trail.interval)  # no step took longer than the watchdog waited for it


def _states(trail: Trail, look: Observation, movement: Movement, awake: float) -> Trail:
    """Updates the clocks of states of the processes and the GPUs. Each runs only while its state is known to last."""
    activity = look.activity
    at_rest = None if movement.gpu is None else not movement.gpu
    held = None if activity is None else activity.stopped or activity.frozen
    waits = None if activity is None else activity.blocked_threads > 0 and not movement.signs["input and output"]
    presses = None if look.memory_pressure is None else look.memory_pressure >= PRESSURE

    def clock(before: Stretch | None, *, on: bool | None) -> Stretch | None:
        if on is None:
            return before
        return (before.lasting(awake) if before else Stretch(look.at)) if on else None

    return replace(
        trail,
        gpu_idle=clock(trail.gpu_idle, on=at_rest),
        # A debugger may stop the process for a moment, by chance at every look. Counted work proves that it runs.
        stopped=clock(None if movement.counted else trail.stopped, on=held),
        blocked=clock(trail.blocked, on=waits),
        pressed=clock(trail.pressed, on=presses),
        untold=clock(trail.untold, on=not movement.told and (trail.phase is not None or look.untold_why is not None)),
    )


def _faults(trail: Trail, look: Observation, movement: Movement, awake: float) -> Trail:
    """Updates what is known about errors of the GPU. They count only until work is counted after them."""
    known, new = faults.new_xids(trail.xids_known, look.gpus)
    if movement.counted:
        trail = replace(trail, fault=None, fault_why=None, xids=())
    why = faults.fatal(look.gpus, new) or trail.fault_why
    fault = trail.fault
    if why is not None:
        fault = Stretch(look.at) if fault is None else fault.lasting(awake if movement.told else 0.0)
    return replace(
        trail,
        xids_known=known,
        xids=(*trail.xids, *new)[-XIDS_KEPT:],
        xids_since=look.at if new and not trail.xids else trail.xids_since,
        fault=fault,
        fault_why=why,
    )
