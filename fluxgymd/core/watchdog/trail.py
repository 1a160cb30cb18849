# SPDX-License-Identifier: Apache-2.0
"""What the looks at one attempt add up to: since when each thing has not moved. A fold with constant memory; pure.

Times are seconds of the machine being awake and of us looking: a longer gap between two looks (the daemon was
stopped, the virtual machine was paused) counts as one interval. What is unknown at a look lets no clock run on and
resets none. Only counted work (a step, a picture, a sample) begins everything anew; that another phase is told
resets the clock of the work only if this phase was not told since the last counted work, so that a trainer which
goes round in its phases without a step is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fluxgym.messages import Phase
from fluxgymd.core.watchdog import faults
from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.movement import PRESSURE, Counters, Movement, compare
from fluxgymd.core.watchdog.observation import Observation

MISSED = 2.5
"""Intervals: two, for a look that was left out, and half a one for a look that came late."""
XIDS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """How long something has lasted."""

    since: float
    """Wall clock."""
    seconds: float = 0.0
    """Awake and looked at; less than the wall clock says after a suspend."""

    def lasting(self, awake: float) -> "Stretch":
        return Stretch(self.since, self.seconds + awake)


@dataclass(frozen=True, slots=True)
class Took:
    """The longest time that one of `items` took, of those seen at one look."""

    items: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trail:
    """Begins as `begin(limits)`. The clocks are None before the first look."""

    interval: float
    history: int
    """How many items' times are kept of each phase."""
    gpu_idle_percent: float
    looks: int = 0
    last: Observation | None = None
    movement: Movement | None = None
    """Between the last two looks."""
    counters: Counters = field(default_factory=Counters)
    phase: Phase | None = None
    """As it was last told."""
    phase_lasts: Stretch | None = None
    entered: frozenset[Phase] = frozenset()
    """Phases told since the last counted work."""
    work: Stretch | None = None
    """Nothing of the phase's work was done."""
    counted: Stretch | None = None
    """No step, picture or sample in whatever phase."""
    still: Stretch | None = None
    """Nothing at all moved."""
    gpu_idle: Stretch | None = None
    """None: they work, or are not known to rest."""
    stopped: Stretch | None = None
    blocked: Stretch | None = None
    """Threads wait in the kernel, and nothing is read or written."""
    pressed: Stretch | None = None
    """All of its tasks wait for memory a good part of the time."""
    untold: Stretch | None = None
    """Its phase was known, and cannot be read."""
    fault: Stretch | None = None
    fault_why: str | None = None
    xids: tuple[int, ...] = ()
    """Since the last counted work."""
    xids_since: float | None = None
    """Wall clock: the first of these."""
    xids_known: faults.Seen = field(default_factory=dict)
    took: Mapping[Phase, tuple[Took, ...]] = field(default_factory=dict)
    """How long the last items of each phase took, at most `history` items each."""
    moved_at: Mapping[str, float] = field(default_factory=dict)
    """Wall clock: when each sign of life was seen last."""

    def slowest(self, phase: Phase) -> float | None:
        """Seconds of the slowest of the last items of a phase; None before there was one."""
        return max((took.seconds for took in self.took.get(phase, ())), default=None)


def begin(limits: Limits) -> Trail:
    """Before the first look."""
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
    """The clocks of progress, and how long things took."""
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
    """How long the work took that this look found done. `waited`: since the work before it; `awake`: since the look
    before it."""
    took = trail.took
    seconds = _step_time(trail, look, movement, waited=waited, awake=awake)
    if seconds is not None:
        # Steps that were told before the first of them was seen are not counted (movement.py), but were made.
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
    """Of the slowest of the steps since the last look; None if there was none, or nothing is known of its time.

    The trainer's own times are finer than our looks, but they are of the wall clock, which a suspend and whoever sets
    it make long. Only they tell a step's time where one of the two looks saw another phase, for what lies between a
    step and another phase is no step. Without them a training whose steps, and the checkpoint after them, always come
    between two looks would have no history, and a hang in it would be found by the limit of its first step."""
    told = look.longest_step
    if trail.phase is not Phase.TRAINING:
        # All of these steps were made since the last look. A longer time is of a clock that was set, or, at the
        # first look at a training that runs already, an older one.
        return told if told is not None and 0 <= told <= awake + trail.interval else None
    if not movement.steps or (movement.phase is not Phase.TRAINING and told is None):
        return None
    # The first step of a phase has no step before it to be measured from.
    first = Phase.TRAINING not in trail.took or trail.counted is None or (trail.work != trail.counted)
    if first or told is None:
        return waited
    return min(max(0.0, told), waited + trail.interval)  # no step took longer than we waited for it


def _states(trail: Trail, look: Observation, movement: Movement, awake: float) -> Trail:
    """The clocks of what the processes and the GPUs are in; each goes on only while it is known to."""
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
        # A debugger stops it for a moment, and at each look by chance: what is stopped makes no step.
        stopped=clock(None if movement.counted else trail.stopped, on=held),
        blocked=clock(trail.blocked, on=waits),
        pressed=clock(trail.pressed, on=presses),
        untold=clock(trail.untold, on=trail.phase is not None and not movement.told),
    )


def _faults(trail: Trail, look: Observation, movement: Movement, awake: float) -> Trail:
    """Errors of the GPU count only while no work is counted after them."""
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
