# SPDX-License-Identifier: Apache-2.0
"""A model of the machine around the daemon: computers, shims, trainers, the disk. It outlives each daemon.

It knows the truth, and notes in `violations` what must never happen: a second trainer of a job, two trainers on a
GPU, a start from another step than the newest checkpoint's, a signal that nobody asked for. Shims and trainers leave
real files in the job's folder, so the daemon reads what it would really read.
"""

import errno
import heapq
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from fluxgymd.attempts.port import AttemptSpec
from fluxgymd.attempts.records_on_disk import ShimRecord, StartedRecord
from fluxgymd.core.journal.records import ExitRecord, Place, Process, Record, Ticks
from fluxgymd.trainers.progress.metrics import size
from tests.model.clock import Clock
from tests.store.files import LORA, our_state

TOTAL_STEPS = 40
STEPS_PER_EPOCH = 10
SHIM_CONTRACT = 1


@dataclass(eq=False, kw_only=True)
class Machine:
    """One computer. What runs on it keeps running while the daemon is on another one."""

    name: str
    gpus: list[str]
    boots: int = 1
    namespaces: int = 1

    @property
    def place(self) -> Place:
        return Place(
            machine_id=self.name * 32,
            boot_id=f"{self.name}{self.boots}",
            pid_namespace="pid:[1]",
            init_start=Ticks(self.namespaces),
        )


@dataclass(eq=False, kw_only=True)
class Attempt:
    """The true state of one shim and its trainer."""

    spec: AttemptSpec
    machine: Machine
    place: Place
    number: int
    shim: Process
    trainer: Process
    shim_alive: bool = True
    gate: str = "closed"
    """One of closed, open, and ended, which means that the daemon's end of it is gone."""
    in_unit: bool = False
    started: bool = False
    """Whether started.json is on the disk."""
    ran: bool = False
    """Whether the trainer ever ran."""
    trainer_alive: bool = False
    left_behind: bool = False
    """Whether a process outlives the trainer."""
    unkillable: bool = False
    """Whether it hangs in the kernel, so that SIGKILL does not end it."""
    deaf: bool = False
    """Whether it ignores SIGTERM."""
    term_seen: bool = False
    end: ExitRecord | None = None
    """How the trainer ended, even if no record says so."""
    exit: ExitRecord | None = None
    """The content of exit.json, if it is on the disk."""
    step: int = 0

    @property
    def job(self) -> str:
        return self.spec.job

    @property
    def mark(self) -> str:
        return self.spec.environment["FLUXGYM_ATTEMPT_ID"]

    @property
    def gpus(self) -> list[str]:
        return list(filter(None, self.spec.environment["CUDA_VISIBLE_DEVICES"].split(",")))

    @property
    def is_training(self) -> bool:
        return "flux_train_network.py" in " ".join(self.spec.argv)

    @property
    def alive(self) -> bool:
        return self.shim_alive or self.runs

    @property
    def runs(self) -> bool:
        """Whether any process besides the shim lives."""
        return self.trainer_alive or self.left_behind


@dataclass(eq=False)
class World:
    """Everything except the daemon."""

    home: Path
    chance: Random
    clock: Clock = field(default_factory=Clock)
    machines: list[Machine] = field(
        default_factory=lambda: [
            Machine(name="a", gpus=["GPU-a0", "GPU-a1"]),
            Machine(name="b", gpus=["GPU-b0"]),
            Machine(name="c", gpus=[]),
        ]
    )
    attempts: list[Attempt] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    over: dict[str, float] = field(default_factory=dict)
    """Disturbances, with the time at which each ends."""
    placing: str = "well"
    """How the next request for a scope goes; the values are in adapter.PLACING."""
    diligent: bool = False
    """Whether trainers finish on their own."""
    on_open: Callable[[Attempt], None] = lambda _: None
    on_start: Callable[[Attempt], None] = lambda _: None

    def __post_init__(self) -> None:
        self.here = self.machines[0]
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._pids = 1000

    # -- time ----------------------------------------------------------------------------------------------------

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.clock.now + seconds, self._count, act))

    def soon(self, act: Callable[[], None]) -> None:
        self.later(self.chance.choice((0.005, 0.05, 0.4)), act)

    def moves(self, until: float) -> float:
        """Does the next thing that is due by `until`, if any. Returns the time reached."""
        if not self._agenda or self._agenda[0][0] > until:
            return until
        due, _, act = heapq.heappop(self._agenda)
        self.clock.now = max(self.clock.now, due)
        act()
        return self.clock.now

    def disturb(self, what: str, seconds: float) -> None:
        """Begins a disturbance: "no bus"; "full disk", which takes half of what is written and fails; or "lying
        disk", which takes everything and still fails."""
        self.over[what] = self.clock.now + seconds

    def disturbed(self, what: str) -> bool:
        return self.over.get(what, 0.0) > self.clock.now

    @property
    def bus(self) -> bool:
        return not self.disturbed("no bus")

    @property
    def full(self) -> bool:
        return self.disturbed("full disk")

    def pass_by(self, seconds: float) -> None:
        """Lets time pass while no daemon runs."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = self.moves(end)

    # -- the disk ------------------------------------------------------------------------------------------------

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Replaces store.atomic.write_all."""
        if self.full:
            os.write(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(descriptor, data)
        if self.disturbed("lying disk"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    # -- the shim ------------------------------------------------------------------------------------------------

    def spawn(self, spec: AttemptSpec) -> Attempt:
        """Starts a shim, which waits at its gate with its record on the disk. Raises OSError if the disk is full."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        attempt = Attempt(
            spec=spec,
            machine=self.here,
            place=self.here.place,
            number=int(spec.folder.name),
            shim=self._process(),
            trainer=self._process(),
        )
        record = ShimRecord(
            contract=SHIM_CONTRACT,
            pid=attempt.shim.pid,
            start=attempt.shim.start,
            boot_id=attempt.place.boot_id,
            pid_namespace=attempt.place.pid_namespace,
        )
        _write(spec.folder / "shim.json", record)
        self.attempts.append(attempt)
        return attempt

    def open_gate(self, attempt: Attempt) -> None:
        self.on_open(attempt)
        attempt.gate = "open"
        self.soon(lambda: self._write_started(attempt))

    def close_gate(self, attempt: Attempt) -> None:
        """Closes the daemon's end of the gate, as its death does: the shim reads end of file."""
        if attempt.gate == "closed":
            attempt.gate = "ended"
            self.soon(lambda: self._leave_unstarted(attempt))

    def _leave_unstarted(self, attempt: Attempt) -> None:
        if not attempt.shim_alive:
            return
        if not self._write_exit(attempt, ExitRecord(kind="never-started", term_seen=attempt.term_seen)):
            self.later(1.0, lambda: self._leave_unstarted(attempt))
            return
        attempt.shim_alive = False

    def _write_started(self, attempt: Attempt) -> None:
        if not attempt.shim_alive:
            return
        if attempt.term_seen:
            self._leave_unstarted(attempt)
            return
        if self.full:
            self._ends(attempt, ExitRecord(kind="exec-failed", errno=errno.ENOSPC))
            return
        trainer = attempt.trainer
        record = StartedRecord(
            contract=SHIM_CONTRACT, pid=trainer.pid, start=trainer.start, started_at=self.clock.time()
        )
        _write(attempt.spec.folder / "started.json", record)
        attempt.started = True
        self.soon(lambda: self._exec(attempt))

    def _exec(self, attempt: Attempt) -> None:
        if not attempt.shim_alive or attempt.end is not None:
            return  # the forked child reads end of file and exits
        if attempt.term_seen:
            self._ends(attempt, ExitRecord(kind="signaled", signal=signal.SIGTERM))
            return
        self._judge_start(attempt)
        attempt.ran = attempt.trainer_alive = True
        attempt.step = self.newest_checkpoint(attempt) if attempt.is_training else 0
        self.on_start(attempt)
        if self.diligent:
            self.soon(lambda: self.finishes(attempt))

    def _judge_start(self, attempt: Attempt) -> None:
        if attempt.gate != "open" or not attempt.in_unit:
            self.violations.append(f"{attempt.spec.unit} ran with its gate {attempt.gate}")
        for other in self.attempts:
            if other is attempt or not other.runs:
                continue
            if other.job == attempt.job:
                self.violations.append(f"{attempt.spec.unit} runs beside {other.spec.unit} of the same job")
            if other.machine is attempt.machine and self._collide(attempt, other):
                self.violations.append(f"{attempt.spec.unit} runs on what {other.spec.unit} has")
        if attempt.is_training:
            resumed = next((word for word in attempt.spec.argv if word.endswith("-state")), None)
            newest = self.newest_checkpoint(attempt)
            begins = int(Path(resumed).name.removesuffix("-state").rpartition("step")[2]) if resumed else 0
            if begins != newest:
                self.violations.append(f"{attempt.spec.unit} begins at step {begins}, and {newest} were saved")

    @staticmethod
    def _collide(one: Attempt, other: Attempt) -> bool:
        if not one.is_training or not other.is_training:
            return False
        return bool(set(one.gpus) & set(other.gpus)) or not one.machine.gpus

    # -- the trainer ---------------------------------------------------------------------------------------------

    def trains(self, attempt: Attempt, steps: int) -> None:
        """Trains, and reports progress as FluxGym's trainer does."""
        attempt.step = min(TOTAL_STEPS, attempt.step + steps)
        if attempt.is_training and not self.full:
            self._tell(attempt)

    def saves(self, attempt: Attempt) -> None:
        """Saves a complete state."""
        folder = attempt.spec.cwd / f"{attempt.job}-step{attempt.step:08d}-state"
        if attempt.is_training and attempt.step > 0 and not self.full and not folder.exists():
            our_state(folder, epoch=attempt.step // STEPS_PER_EPOCH + 1, step=attempt.step)

    def finishes(self, attempt: Attempt) -> None:
        """Ends well, with a result. On a full disk, fails instead."""
        if not attempt.trainer_alive:
            return
        if self.full:
            self.exits(attempt, code=1)
            return
        if attempt.is_training:
            attempt.step = TOTAL_STEPS
            self._tell(attempt)
            result, content = attempt.spec.cwd / f"{attempt.job}.safetensors", LORA
        else:
            result, content = attempt.spec.cwd / "result.json", b'{"files": []}'
        result.unlink(missing_ok=True)
        fresh = result.with_suffix(".fresh")
        fresh.write_bytes(content)
        fresh.rename(result)
        # The new file may reuse the old one's inode. Then only their times differ, and the kernel's are too coarse.
        os.utime(result, ns=(0, int(self.clock.time() * 1e9)))
        self.exits(attempt, code=0)

    def exits(self, attempt: Attempt, *, code: int | None = None, signal_number: int | None = None) -> None:
        if attempt.trainer_alive:
            kind = "exited" if signal_number is None else "signaled"
            self._ends(attempt, ExitRecord(kind=kind, code=code, signal=signal_number))

    def told_to_leave(self, attempt: Attempt) -> None:
        """SIGTERM to the trainer's own process, which saves and exits unless it is deaf."""
        if attempt.trainer_alive and not attempt.deaf:
            self.soon(lambda: self._saves_and_leaves(attempt))

    def _saves_and_leaves(self, attempt: Attempt) -> None:
        if attempt.trainer_alive:
            self.saves(attempt)
            self.exits(attempt, code=128 + signal.SIGTERM)

    def told_all_to_leave(self, attempt: Attempt) -> None:
        """SIGTERM to every process of the attempt, including the shim."""
        if attempt.shim_alive:
            attempt.term_seen = True
        self.told_to_leave(attempt)
        if not attempt.deaf:
            attempt.left_behind = False

    def kills(self, attempt: Attempt) -> None:
        """SIGKILL to every process except the shim."""
        if not attempt.unkillable:
            attempt.left_behind = False
            self.exits(attempt, signal_number=signal.SIGKILL)

    def _ends(self, attempt: Attempt, record: ExitRecord) -> None:
        attempt.trainer_alive = False
        attempt.end = record
        self.soon(lambda: self._record_end(attempt))

    def _record_end(self, attempt: Attempt) -> None:
        if not attempt.shim_alive or attempt.end is None:
            return
        record = msgspec.structs.replace(attempt.end, term_seen=attempt.term_seen)
        if not self._write_exit(attempt, record):
            self.later(1.0, lambda: self._record_end(attempt))
            return
        self.soon(lambda: self.shim_dies(attempt))

    def shim_dies(self, attempt: Attempt) -> None:
        attempt.shim_alive = False

    def all_die(self, attempt: Attempt) -> None:
        """The kernel's OOM killer ends the complete cgroup."""
        attempt.shim_alive = attempt.trainer_alive = attempt.left_behind = False

    def _write_exit(self, attempt: Attempt, record: ExitRecord) -> bool:
        if self.full:
            return False
        _write(attempt.spec.folder / "exit.json", record)
        attempt.exit = record
        return True

    def _tell(self, attempt: Attempt) -> None:
        metrics = Path(attempt.spec.environment["FLUXGYM_METRICS"])
        line = {"time": self.clock.time(), "phase": "training", "step": attempt.step, "totalSteps": TOTAL_STEPS}
        assert size(metrics) >= 0
        with metrics.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    # -- machines ------------------------------------------------------------------------------------------------

    def reboots(self, machine: Machine, *, orderly: bool, container: bool) -> None:
        """Ends everything on the machine. `orderly`: before that, trainers may save, and shims record their ends."""
        if orderly:
            self.ends_session(machine)
            self.pass_by(5.0)
        for attempt in self.on(machine):
            self.all_die(attempt)
            attempt.unkillable = False
        if container:
            machine.namespaces += 1
        else:
            machine.boots += 1

    def ends_session(self, machine: Machine) -> None:
        """SIGTERM to every process of the session at once."""
        for attempt in self.on(machine):
            self.told_all_to_leave(attempt)

    def on(self, machine: Machine) -> Iterator[Attempt]:
        return (one for one in tuple(self.attempts) if one.machine is machine and one.place == machine.place)

    def newest_checkpoint(self, attempt: Attempt) -> int:
        states = attempt.spec.cwd.glob(f"{attempt.job}-step*-state")
        return max((int(path.name[-14:-6]) for path in states), default=0)

    def _process(self) -> Process:
        self._pids += 1
        return Process(pid=self._pids, start=Ticks(self._pids))


def _write(path: Path, record: Record) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(msgspec.json.encode(record) + b"\n")
    fresh.rename(path)
