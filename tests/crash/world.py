# SPDX-License-Identifier: Apache-2.0
"""The installed daemon in a user manager of its own, a user who uses it, and the hands that kill (soak.py).

Who kills is the host: it sees every process of the user manager by its cgroup, and needs nobody inside.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fluxgym import methods as m
from fluxgym.errors import DaemonUnreachable, NoSuchJob, WrongState
from fluxgym.messages import ExitKind, Job, State
from tests.crash.material import short
from tests.crash.promises import Memory, check_history, check_nothing_runs, check_result, check_swept
from tests.crash.trainers import WatchedTrainers
from tests.daemon.installed import SERVICE, InstalledDaemon
from tests.daemon.running import TRAINER_PYTHON, TRAINING_SECONDS, tensors
from tests.harness import cgroups
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

AWAKE_SECONDS = 1.0
JOBS = 3
"""So many at most: one trains, the others wait."""
DROP_IN = """[Unit]
StartLimitIntervalSec=0
[Service]
RestartSec=100ms
"""
BUS_DROP_IN = """[Unit]
StartLimitIntervalSec=0
"""
"""Nobody kills a bus six times in ten seconds but us."""
UNWATCHED = (State.STOPPED, State.FAILED)


@dataclass(frozen=True)
class Deed:
    """What the user does in a round."""

    verb: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.name}".strip()


class World:
    """`with World(model) as world:`"""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._memory = Memory()
        self._result: dict[str, bytes] = {}
        self._count = 0
        self._over = threading.Event()
        self.manager = UserManager()

    def __enter__(self) -> Self:
        try:
            self.manager.start()
            threading.Thread(target=self._keep_awake, name="keep-awake", daemon=True).start()
            self.trainers = WatchedTrainers(self.manager.directory / "trainers")
            for unit in ("dbus.service", "dbus.socket"):
                drop_ins = self.manager.home / ".config" / "systemd" / "user" / f"{unit}.d"
                drop_ins.mkdir(parents=True)
                (drop_ins / "test.conf").write_text(BUS_DROP_IN)
            self.daemon = InstalledDaemon(self.manager, drop_in=DROP_IN, trainer_python=self.trainers.python)
        except BaseException:
            self.manager.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.manager.close()

    def _keep_awake(self) -> None:
        """systemd 252 may sleep over the restart of a service that died together with the bus, until something wakes
        it (docs/decisions/failpoints.md): here somebody who looks in and says nothing."""
        while not self._over.wait(AWAKE_SECONDS):
            with socket.socket(socket.AF_UNIX) as visitor, contextlib.suppress(OSError):
                visitor.connect(str(self.manager.runtime_directory / "systemd" / "private"))

    # -- the user ------------------------------------------------------------------------------------------------

    def deed(self, choice: random.Random) -> Deed:
        """Something that may be asked of the jobs as they are now."""
        jobs = self.jobs()
        deeds = [Deed("wait")]
        if sum(job.runtime.state is not State.COMPLETED for job in jobs) < JOBS:
            deeds += [Deed("submit", f"job-{self._count}")] * 2
        for job in jobs:
            match job.runtime.state:
                case State.COMPLETED:
                    deeds += [Deed("remove", str(job.context.name))] * 3
                case State.STOPPED | State.FAILED:
                    deeds += [Deed("resume", str(job.context.name))] * 3
                case _:
                    deeds.append(Deed("stop", str(job.context.name)))
        return choice.choice(deeds)

    def do(self, deed: Deed) -> None:
        """The answer may be lost, and the job may have ended in this moment."""
        with contextlib.suppress(DaemonUnreachable, WrongState):
            match deed.verb:
                case "submit":
                    self._count += 1
                    self.daemon.submit(short(deed.name, self._model))
                    self._memory.acknowledged.add(deed.name)
                case "remove":
                    self._memory.forget(deed.name)
                    self._ask(m.REMOVE, deed.name)
                case "stop":
                    self._ask(m.STOP, deed.name)
                case "resume":
                    self._ask(m.RESUME, deed.name)

    def _ask(self, method: m.Method[Any, Any], name: str) -> None:
        self.daemon.call(method, method.parameters(name=name))

    # -- the promises --------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Asked until a daemon lives long enough to answer."""

        def answer() -> tuple[list[Job]] | None:
            with contextlib.suppress(DaemonUnreachable):
                return (self.daemon.jobs(),)
            return None

        return until(answer, what="the daemon to answer")[0]

    def check(self) -> None:
        """Once the daemon is back, and has found its way to systemd."""
        until(self._is_well, what="the daemon not to be degraded")
        jobs = self.jobs()
        self._memory.check_disk(self.daemon.home, self.trainers)
        check_swept(self.daemon)
        there = {str(job.context.name) for job in jobs}
        assert self._memory.acknowledged <= there, f"promise 3: {self._memory.acknowledged - there} is gone"
        for job in jobs:
            self._check_job(job)

    def _is_well(self) -> bool:
        with contextlib.suppress(DaemonUnreachable):
            return not self.daemon.info().degraded
        return False

    def _check_job(self, job: Job) -> None:
        name = str(job.context.name)
        assert job.runtime.state is not State.DAMAGED, f"promise 8: {job.runtime.reason}"
        check_history(self.daemon, self.trainers, name)
        if job.runtime.state is State.FAILED:
            assert job.runtime.attempt is not None
            left = job.runtime.attempt.exit
            killed = left is None or left.kind is ExitKind.UNKNOWN or left.signal == signal.SIGKILL
            assert killed, f"{name} failed by itself: {job.runtime}\n{self.daemon.training_log(name)[-4000:]}"
        if job.runtime.state is State.COMPLETED:
            self._result = self._result or tensors(self.daemon.folder(name) / f"{name}.safetensors")
            check_result(self.daemon, name, self._result)

    def finish(self) -> None:
        """Every job can still be brought to its end, and nothing is left of any."""
        until(self._all_completed, what="all jobs to be completed", deadline_seconds=TRAINING_SECONDS)
        self.check()
        for job in self.jobs():
            name = str(job.context.name)
            self._memory.forget(name)
            until(lambda name=name: self._removed(name), what=f"{name} to be removed")  # type: ignore[misc]
        assert list((self.daemon.home / "outputs").iterdir()) == []
        until(lambda: not self.daemon.running_scopes(), what="the scopes to go")
        check_nothing_runs(self.daemon)

    def _all_completed(self) -> bool:
        jobs = self.jobs()
        for job in jobs:
            paused = job.runtime.state is State.INTERRUPTED and (job.runtime.not_before or 0) > time.time() + 5
            if job.runtime.state in UNWATCHED:
                self.do(Deed("resume", str(job.context.name)))
            elif paused:
                self.do(Deed("stop", str(job.context.name)))
        return all(job.runtime.state is State.COMPLETED for job in jobs)

    def _removed(self, name: str) -> bool:
        try:
            self._ask(m.REMOVE, name)
        except NoSuchJob:
            return True
        except (WrongState, DaemonUnreachable):  # its end is still being noted down
            return False
        return True

    def evidence(self) -> str:
        """What a person needs who looks for the fault."""
        log = self.daemon.log.read_text(errors="replace")[-6000:]
        journals = "\n".join(
            f"{path}\n{path.read_text(errors='replace')}" for path in self.daemon.home.glob("outputs/*/events.jsonl")
        )
        return f"--- fluxgymd\n{log}\n--- journals\n{journals}"

    # -- the hands that kill -------------------------------------------------------------------------------------

    def processes(self, unit: str, words: str) -> list[int]:
        """The processes in units of this name (a glob) whose command line holds these words; pids of the host."""
        found = []
        for group in self.manager.namespace.group.rglob(unit):
            for pid in cgroups.processes_in(group):
                with contextlib.suppress(OSError):
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if words in command:
                        found.append(pid)
        return found

    def kill(self, unit: str, words: str) -> None:
        for pid in self.processes(unit, words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


KILLS: dict[str, Callable[[World], None]] = {
    "kill daemon": lambda world: world.kill(SERVICE, "-m fluxgymd"),
    "kill shim": lambda world: world.kill("fluxgym-*.scope", "shim.py"),
    "kill trainer": lambda world: world.kill("fluxgym-*.scope", f"{TRAINER_PYTHON}"),
    "kill bus": lambda world: world.kill("dbus.service", "dbus-daemon"),
}
"""Safe from any thread: nothing is started."""
RESTARTS: dict[str, Callable[[World], object]] = {
    "restart daemon": lambda world: world.manager.systemctl("restart", SERVICE),
    "reload systemd": lambda world: world.manager.daemon_reload(),
    "re-execute systemd": lambda world: world.manager.daemon_reexec(),
}
