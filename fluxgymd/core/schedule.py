# SPDX-License-Identifier: Apache-2.0
"""Which waiting jobs start now, on which GPUs, and why the others wait: a pure function of the jobs and the machine.

A GPU is never given to two jobs (promise 4): whatever a live, lost or damaged job holds is taken. A job that cannot
be given its GPUs yet keeps later ones off them, so that many small jobs do not starve a large one. Programs on the
CPU have slots of their own and never wait behind trainings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fluxgym.messages import Kind, WaitingFor
from fluxgymd.core.damage import EVERYTHING, Lease
from fluxgymd.core.job import Completed, Failed, Job, Live, Stopped, Waiting

START_PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before a start that failed is tried again."""


CPU_TAKEN = "This machine has no GPU, and trains one job at a time on its CPU."


@dataclass(frozen=True, slots=True)
class Start:
    """It starts now, on these GPUs (none of them: on the CPU)."""

    job: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """It waits."""

    job: str
    reason: WaitingFor
    detail: str | None = None
    """One sentence, where the reason alone does not say enough."""


Decision = Start | Wait


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What there is, and what the jobs themselves do not tell."""

    machine_id: str
    gpus: Sequence[str]
    """UUIDs by index; empty for a machine without a GPU, which trains one job at a time on its CPU."""
    set_aside: frozenset[str] = frozenset()
    """Of these, the ones that are given to nobody: they are put aside."""
    program_slots: int
    paused: bool
    problem: WaitingFor | None
    """Why nothing can be started at present."""
    held: Mapping[str, Lease] = field(default_factory=dict)
    """Leases of damaged jobs, and of those whose journal is in doubt, by name."""
    starting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Starts that were decided and are not in the journals yet, with their GPUs."""
    resting: frozenset[str] = frozenset()
    """Jobs whose last event could not be written a moment ago."""


@dataclass(slots=True)
class _Room:
    """What is left to give, while the decisions are made."""

    free: list[str]
    cpu_training: bool
    programs: int
    reserved: set[str] = field(default_factory=set)


def decide(jobs: Mapping[str, Job], machine: Machine, now: float) -> list[Decision]:
    """One decision for each waiting job, best first. `jobs`: the sound ones, by name. `now`: seconds, wall clock."""
    room = _room(jobs, machine)
    decisions: list[Decision] = []
    for job in queue(jobs.values()):
        if job.name in machine.starting:
            continue
        wait = _obstacle(job, jobs, machine, now)
        decisions.append(wait or _place(job, machine, room))
    return decisions


def queue(jobs: Iterable[Job]) -> list[Job]:
    """The waiting jobs, in the order in which they are considered."""
    waiting = (job for job in jobs if isinstance(job.state, Waiting))
    return sorted(waiting, key=lambda job: (-job.priority, job.rank, job.id))


def place_at(line: Sequence[Job], index: int, job: Job) -> tuple[int, float] | None:
    """The priority and rank that put `job` at a place in the line, which does not hold it. None if there is no number
    between the ranks of its neighbours any more: then `make_room` comes first."""
    if index >= len(line):
        return (line[-1].priority, line[-1].rank + 1.0) if line else (job.priority, job.rank)
    behind = line[index]
    ahead = line[index - 1] if index > 0 else None
    if ahead is None or ahead.priority != behind.priority:
        return behind.priority, behind.rank - 1.0
    # Ranks are times: between two that are a second apart about 20 halves find a place.
    middle = (ahead.rank + behind.rank) / 2
    return (behind.priority, middle) if ahead.rank < middle < behind.rank else None


def make_room(line: Sequence[Job], index: int) -> list[Job]:
    """The jobs whose rank is to grow by 1, one after the other: the order is the same after each of them."""
    return [job for job in reversed(line[index:]) if job.priority == line[index].priority]


def due(job: Job, now: float) -> float:
    """The earliest time of the job's next start; in the past if it may start now."""
    pause = START_PAUSES[min(job.start_failures, len(START_PAUSES)) - 1] if job.start_failures else 0.0
    ended = job.last.ended_at if job.last is not None and job.last.ended_at is not None else 0.0
    if now < ended:
        return 0.0  # the clock was set back: a pause of minutes must not become one of years
    return max(job.not_before, ended + pause)


def _room(jobs: Mapping[str, Job], machine: Machine) -> _Room:
    live = [(job, job.state.attempt) for job in jobs.values() if isinstance(job.state, Live)]
    # A GPU has a UUID of its own wherever it is; a CPU is known by nothing but its machine.
    here = [(job, attempt.gpus) for job, attempt in live if attempt.place.machine_id == machine.machine_id]
    here += [(jobs[name], gpus) for name, gpus in machine.starting.items() if name in jobs]
    taken = {gpu for lease in machine.held.values() for gpu in _gpus_of(lease, machine)}
    taken |= {gpu for _, attempt in live for gpu in attempt.gpus} | machine.set_aside
    taken |= {gpu for gpus in machine.starting.values() for gpu in gpus}
    on_cpu = sum(1 for lease in machine.held.values() if lease is EVERYTHING or not lease)
    # Where the driver is gone under a training, the next one does not begin on the CPU.
    on_cpu += sum(1 for job, _ in here if is_training(job))
    programs = sum(1 for job, _ in here if not is_training(job))
    return _Room(
        free=[gpu for gpu in dict.fromkeys(machine.gpus) if gpu not in taken],
        cpu_training=not machine.gpus and on_cpu == 0,
        programs=machine.program_slots - programs,
    )


def _gpus_of(lease: Lease, machine: Machine) -> Sequence[str]:
    return machine.gpus if lease is EVERYTHING else lease


def is_training(job: Job) -> bool:
    return job.context.kind is not Kind.PROGRAM


def _obstacle(job: Job, jobs: Mapping[str, Job], machine: Machine, now: float) -> Wait | None:
    """What keeps the job from starting whatever is free."""
    if job.held:
        return Wait(job.name, WaitingFor.HELD)
    if machine.paused:
        return Wait(job.name, WaitingFor.PAUSED)
    if machine.problem is not None and (machine.problem is not WaitingFor.GPU or is_training(job)):
        return Wait(job.name, machine.problem)
    for name in job.context.after or ():
        other = jobs.get(name)
        if other is None or not isinstance(other.state, Completed):
            return Wait(job.name, WaitingFor.JOB, f"{name} is to be completed first{_why_not_completed(other)}.")
    if due(job, now) > now or job.name in machine.resting:
        return Wait(job.name, WaitingFor.BACK_OFF)
    return None


def _why_not_completed(other: Job | None) -> str:
    """Where it does not come by itself."""
    match other.state if other is not None else None:
        case None:
            return ", but it is not there, or is damaged"
        case Failed():
            return ", but it failed"
        case Stopped():
            return ", but it was stopped"
        case _:
            return ""


def _place(job: Job, machine: Machine, room: _Room) -> Decision:
    if not is_training(job):
        if room.programs <= 0:
            return Wait(job.name, WaitingFor.SLOT)
        room.programs -= 1
        return Start(job.name, ())
    if not machine.gpus:
        if job.context.gpus or (job.context.gpu_count or 1) > 1:
            return Wait(job.name, WaitingFor.GPU, "It asks for GPUs, and this machine has none.")
        if not room.cpu_training:
            return Wait(job.name, WaitingFor.GPU, _in_doubt(machine, ()) or CPU_TAKEN)
        room.cpu_training = False
        return Start(job.name, ())
    return _place_on_gpus(job, machine, room)


def _place_on_gpus(job: Job, machine: Machine, room: _Room) -> Decision:
    wanted = job.context.gpu_count or 1
    allowed = allowed_gpus(job.context.gpus, machine.gpus)
    if len(allowed) < wanted:
        asked = f" of {', '.join(job.context.gpus)}" if job.context.gpus else ""
        has = f"this machine has {len(allowed)} of them"
        return Wait(job.name, WaitingFor.GPU, f"It needs {wanted}{asked} GPUs, and {has}.")
    chosen = tuple(gpu for gpu in room.free if gpu in allowed and gpu not in room.reserved)[:wanted]
    if len(chosen) < wanted:
        room.reserved.update(allowed)
        return Wait(job.name, WaitingFor.GPU, _in_doubt(machine, allowed) or _put_aside(machine, allowed))
    room.free = [gpu for gpu in room.free if gpu not in chosen]
    return Start(job.name, chosen)


def _put_aside(machine: Machine, gpus: Sequence[str]) -> str | None:
    """Which of these GPUs are given to nobody."""
    numbers = [str(index) for index, gpu in enumerate(machine.gpus) if gpu in machine.set_aside and gpu in gpus]
    if not numbers:
        return None
    what = f"GPU {numbers[0]} is" if len(numbers) == 1 else f"GPUs {', '.join(numbers)} are"
    return f"{what} put aside; `fluxgymctl gpus` says why, and how to clear it."


def _in_doubt(machine: Machine, gpus: Sequence[str]) -> str | None:
    """Which jobs keep some of these GPUs (none of them: the CPU) until a person has repaired something."""
    names = sorted(
        name
        for name, lease in machine.held.items()
        if lease is EVERYTHING or set(gpus).intersection(lease) or (not gpus and not lease)
    )
    if not names:
        return None
    what = "GPUs" if gpus else "the CPU"
    jobs = f"{', '.join(names)}; `fluxgymctl status {names[0]}` says what to do"
    return f"Until their journals are in order, these jobs keep {what}: {jobs}."


def allowed_gpus(asked: Sequence[str] | None, gpus: Sequence[str]) -> list[str]:
    """The UUIDs that a job may use. `asked`: indices or UUIDs; None or nothing: any."""
    if not asked:
        return list(dict.fromkeys(gpus))
    by_name = {str(index): uuid for index, uuid in enumerate(gpus)} | {uuid: uuid for uuid in gpus}
    return list(dict.fromkeys(by_name[name] for name in asked if name in by_name))
