# SPDX-License-Identifier: Apache-2.0
"""Decides which waiting jobs start now, on which GPUs, and why the others wait: a pure function of jobs and machine.

A GPU is never given to two jobs (promise 4): whatever a live, lost or damaged job holds is taken. While a job waits
for GPUs, later jobs don't get any that it may use, so that many small jobs don't starve a large one. Programs on the
CPU have their own slots and never wait behind trainings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fluxgym.protocol.messages import Context, Kind, WaitingFor
from fluxgymd.core.damage import EVERYTHING, Lease
from fluxgymd.core.job import Completed, Failed, Job, Live, Stopped, Waiting
from fluxgymd.core.journal.records import MOST

START_PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before a failed start is retried, by the number of consecutive failures."""


CPU_TAKEN = "This machine has no GPU, and trains one job at a time on its CPU."


@dataclass(frozen=True, slots=True)
class Start:
    """The job starts now, on these GPUs (empty: on the CPU)."""

    job: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """The job waits."""

    job: str
    reason: WaitingFor
    detail: str | None = None
    """One sentence, if the reason alone doesn't say enough."""


Decision = Start | Wait


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine's resources, and facts that the jobs' states don't hold."""

    machine_id: str
    gpus: Sequence[str]
    """UUIDs by index; empty for a machine without a GPU, which trains one job at a time on its CPU."""
    set_aside: frozenset[str] = frozenset()
    """GPUs that no job gets: quarantined, or in use by processes that belong to no job any more."""
    program_slots: int
    paused: bool
    problem: WaitingFor | None
    """Why nothing can be started at present. With WaitingFor.GPU, programs can be."""
    held: Mapping[str, Lease] = field(default_factory=dict)
    """Leases of damaged jobs, and of jobs whose journal is in doubt, by job name."""
    starting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The GPUs of starts that are decided but not in a journal yet, by job name."""
    programs: frozenset[str] = frozenset()
    """Jobs that take a program slot. Other jobs take GPUs, or the CPU if the machine has none."""
    resting: frozenset[str] = frozenset()
    """Jobs that pause briefly because starting them, or writing to their journal, has just failed."""


@dataclass(slots=True)
class _Room:
    """The resources that are left while the decisions are made."""

    free: list[str]
    cpu_training: bool
    programs: int
    reserved: set[str] = field(default_factory=set)


def decide(jobs: Mapping[str, Job], machine: Machine, now: float) -> list[Decision]:
    """One decision for each waiting job, in the order of the queue. `jobs`: all jobs that aren't damaged, by name.
    `now`: seconds since the epoch."""
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
    return sorted(waiting, key=lambda job: (-job.priority, job.rank, job.number, job.id))


def ahead_of(jobs: Iterable[Job], *, priority: int, kind: Kind) -> int:
    """How many waiting jobs of the kind would be considered before one that is submitted now."""
    return sum(job.priority >= priority and kind_of(job.context) is kind for job in queue(jobs))


def kind_of(context: Context) -> Kind:
    """The kind of a job; settings of earlier versions do not name it."""
    return context.kind or Kind.TRAINING


def last_rank(ranks: Iterable[float], now: float) -> float:
    """The rank of a job that is submitted now: behind all of `ranks`, even if the clock was set back."""
    highest = max(ranks, default=now - 1.0)
    return now if now > highest else rank_behind(highest)


def rank_behind(rank: float) -> float:
    """The next rank. No rank follows MOST, which only a strange journal holds; equal ranks are in the order of their
    submits' numbers (docs/decisions/0093-order-without-a-clock.md)."""
    return min(rank + 1.0, float(MOST))


def place_at(line: Sequence[Job], index: int, job: Job) -> tuple[int, float] | None:
    """The priority and rank that put `job` at `index` of the line, which doesn't contain it. None if there is no
    number left between the ranks of its neighbours: then `make_room` is needed first."""
    if index >= len(line):
        return (line[-1].priority, rank_behind(line[-1].rank)) if line else (job.priority, job.rank)
    behind = line[index]
    ahead = line[index - 1] if index > 0 else None
    if ahead is None or ahead.priority != behind.priority:
        return behind.priority, max(behind.rank - 1.0, -float(MOST))
    # Ranks are times. If two are a second apart, the gap between them can be halved about 20 times.
    middle = (ahead.rank + behind.rank) / 2
    return (behind.priority, middle) if ahead.rank < middle < behind.rank else None


def make_room(line: Sequence[Job], index: int) -> list[Job]:
    """The jobs that have to move to the next rank (`rank_behind`), in this order, so that there is room before
    `index`. The order of the line is the same after each move."""
    return [job for job in reversed(line[index:]) if job.priority == line[index].priority]


def due(job: Job, now: float) -> float:
    """The earliest time of the job's next start (seconds since the epoch); in the past if it may start now."""
    pause = START_PAUSES[min(job.start_failures, len(START_PAUSES)) - 1] if job.start_failures else 0.0
    ended = job.last.ended_at if job.last is not None and job.last.ended_at is not None else 0.0
    if now < ended:
        return 0.0  # the clock was set back: a pause of minutes must not become one of years
    return max(job.not_before, ended + pause)


def _room(jobs: Mapping[str, Job], machine: Machine) -> _Room:
    live = [(job, job.state.attempt) for job in jobs.values() if isinstance(job.state, Live)]
    # GPUs have unique UUIDs, so leases from other machines do no harm. A CPU is identified only by its machine.
    here = [(job, attempt.gpus) for job, attempt in live if attempt.place.machine_id == machine.machine_id]
    here += [(jobs[name], gpus) for name, gpus in machine.starting.items() if name in jobs]
    taken = {gpu for lease in machine.held.values() for gpu in _gpus_of(lease, machine)}
    taken |= {gpu for _, attempt in live for gpu in attempt.gpus} | machine.set_aside
    taken |= {gpu for gpus in machine.starting.values() for gpu in gpus}
    on_cpu = sum(1 for lease in machine.held.values() if lease is EVERYTHING or not lease)
    # Trainings on GPUs count too: if the driver disappears under one, the next must not start on the CPU.
    programs = sum(1 for job, _ in here if job.name in machine.programs)
    on_cpu += len(here) - programs
    return _Room(
        free=[gpu for gpu in dict.fromkeys(machine.gpus) if gpu not in taken],
        cpu_training=not machine.gpus and on_cpu == 0,
        programs=machine.program_slots - programs,
    )


def _gpus_of(lease: Lease, machine: Machine) -> Sequence[str]:
    return machine.gpus if lease is EVERYTHING else lease


def _obstacle(job: Job, jobs: Mapping[str, Job], machine: Machine, now: float) -> Wait | None:
    """What keeps the job from starting even if there are free resources; None if nothing does."""
    if job.held:
        return Wait(job.name, WaitingFor.HELD)
    if machine.paused:
        return Wait(job.name, WaitingFor.PAUSED)
    if machine.problem is not None and (machine.problem is not WaitingFor.GPU or job.name not in machine.programs):
        return Wait(job.name, machine.problem)
    for name in job.context.after or ():
        other = jobs.get(name)
        if other is None or not isinstance(other.state, Completed):
            return Wait(job.name, WaitingFor.JOB, f"{name} must be completed first{_why_not_completed(other)}.")
    if due(job, now) > now or job.name in machine.resting:
        return Wait(job.name, WaitingFor.BACK_OFF)
    return None


def _why_not_completed(other: Job | None) -> str:
    """Why the job won't be completed without help, as the end of a sentence; empty if it may be."""
    match other.state if other is not None else None:
        case None:
            return ", but it does not exist or is damaged"
        case Failed():
            return ", but it failed"
        case Stopped():
            return ", but it was stopped"
        case _:
            return ""


def _place(job: Job, machine: Machine, room: _Room) -> Decision:
    if job.name in machine.programs:
        if room.programs <= 0:
            return Wait(job.name, WaitingFor.SLOT)
        room.programs -= 1
        return Start(job.name, ())
    if not machine.gpus:
        if job.context.gpus or (job.context.gpu_count or 1) > 1:
            return Wait(job.name, WaitingFor.GPU, "It asks for GPUs, but this machine has none.")
        if not room.cpu_training:
            return Wait(job.name, WaitingFor.GPU, _in_doubt(machine, ()) or CPU_TAKEN)
        room.cpu_training = False
        return Start(job.name, ())
    return _place_on_gpus(job, machine, room)


def _place_on_gpus(job: Job, machine: Machine, room: _Room) -> Decision:
    wanted = job.context.gpu_count or 1
    allowed = allowed_gpus(job.context.gpus, machine.gpus)
    if len(allowed) < wanted:
        asked = f" of the GPUs {', '.join(job.context.gpus)}" if job.context.gpus else " GPUs"
        has = f"this machine has only {len(allowed)} of them"
        return Wait(job.name, WaitingFor.GPU, f"It needs {wanted}{asked}, but {has}.")
    chosen = tuple(gpu for gpu in room.free if gpu in allowed and gpu not in room.reserved)[:wanted]
    if len(chosen) < wanted:
        room.reserved.update(allowed)
        return Wait(job.name, WaitingFor.GPU, _in_doubt(machine, allowed) or _put_aside(machine, allowed))
    room.free = [gpu for gpu in room.free if gpu not in chosen]
    return Start(job.name, chosen)


def _put_aside(machine: Machine, gpus: Sequence[str]) -> str | None:
    """A sentence about those of these GPUs that no job gets; None if there are none."""
    numbers = [str(index) for index, gpu in enumerate(machine.gpus) if gpu in machine.set_aside and gpu in gpus]
    if not numbers:
        return None
    what = f"GPU {numbers[0]} is" if len(numbers) == 1 else f"GPUs {', '.join(numbers)} are"
    return f"{what} quarantined; `fluxgymctl gpus` says why and how to clear it."


def _in_doubt(machine: Machine, gpus: Sequence[str]) -> str | None:
    """A sentence about jobs that keep some of these GPUs (empty: the CPU) until a person repairs their journals; None
    if there are none."""
    names = sorted(
        name
        for name, lease in machine.held.items()
        if lease is EVERYTHING or set(gpus).intersection(lease) or (not gpus and not lease)
    )
    if not names:
        return None
    what = "GPUs" if gpus else "the CPU"
    jobs = f"{', '.join(names)}; `fluxgymctl status {names[0]}` says what to do"
    return f"These jobs keep {what} reserved until their journals are repaired: {jobs}."


def allowed_gpus(asked: Sequence[str] | None, gpus: Sequence[str]) -> list[str]:
    """The UUIDs that a job may use. `asked`: indices or UUIDs; None or empty: any."""
    if not asked:
        return list(dict.fromkeys(gpus))
    by_name = {str(index): uuid for index, uuid in enumerate(gpus)} | {uuid: uuid for uuid in gpus}
    return list(dict.fromkeys(by_name[name] for name in asked if name in by_name))
