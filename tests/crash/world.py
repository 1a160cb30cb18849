# SPDX-License-Identifier: Apache-2.0
"""A daemon on its host, a persistent user, and what must hold whatever happens to them (soak.py)."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fluxgym.errors import DaemonUnreachable, NoSuchJob, NotEnoughSpace, StorageFailed, WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import ExitKind, Job, State
from fluxgymd.store.job_trash import TRASH
from tests.crash.hosts import Host
from tests.crash.promises import Memory, check_history, check_swept
from tests.crash.work import Work
from tests.daemon.running import TRAINING_SECONDS
from tests.fuzz.served import Served
from tests.harness.waiting import until
from tests.store.small_disk import PAGE, fill

JOBS = 3
"""The maximum number of unfinished jobs: one runs, the others wait."""
UNWATCHED = (State.STOPPED, State.FAILED)


@dataclass(frozen=True)
class Deed:
    """What the user does in one round."""

    verb: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.name}".strip()


class World:
    """What a soak plays in: `with World(host, work, served) as world:`."""

    def __init__(self, host: Host, work: Work, served: Served) -> None:
        self.host = host
        self._served = served
        self._work = work
        self._memory = Memory()
        self._result: Mapping[str, bytes] = {}
        self._count = 0
        self._hog: Path | None = None
        self._met_a_full_disk: set[str] = set()
        self._removed: set[str] = set()
        """The jobs that can be restored, as far as the user knows."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self.host.close)
            self.host.daemon.info()  # starts the daemon where systemd does that for the first client
            self._served.measure_quiet(self.host.daemon, self.host.memory())
            stack.enter_context(self._served.measured(self.host.daemon, patient=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    # -- the disk ------------------------------------------------------------------------------------------------

    def fill_disk(self, spare: int) -> None:
        """Fills the disk except for `spare` pages."""
        self._hog = fill(self.host.daemon.home)
        with self._hog.open("r+b") as file:
            file.truncate(max(0, self._hog.stat().st_size - spare * PAGE))

    def free_disk(self) -> None:
        if self._hog is not None:
            self._met_a_full_disk.update(path.name for path in self._folders())
            self._hog.unlink()
            self._hog = None

    def _folders(self) -> list[Path]:
        return [path for path in (self.host.daemon.home / "outputs").iterdir() if path.name != TRASH]

    # -- the user ------------------------------------------------------------------------------------------------

    def deed(self, choice: random.Random) -> Deed:
        """Draws something that can be asked of the jobs in their present states."""
        jobs = self.jobs()
        deeds = [Deed("wait")]
        if sum(job.runtime.state is not State.COMPLETED for job in jobs) < JOBS:
            deeds += [Deed("submit", f"job-{self._count}")] * 2
        for job in jobs:
            match job.runtime.state:
                case State.COMPLETED:
                    deeds += [Deed("remove", str(job.context.name))] * 2
                    deeds.append(Deed("delete", str(job.context.name)))
                case State.STOPPED | State.FAILED:
                    deeds += [Deed("resume", str(job.context.name))] * 3
                case _:
                    deeds.append(Deed("stop", str(job.context.name)))
        there = {str(job.context.name) for job in jobs}
        deeds += [Deed("restore", name) for name in sorted(self._removed - there)]
        return choice.choice(deeds)

    def do(self, deed: Deed) -> None:
        """Carries it out. The answer may be lost, the job may have just ended, and the disk may refuse the write."""
        with contextlib.suppress(DaemonUnreachable, NoSuchJob, WrongState, StorageFailed, NotEnoughSpace):
            match deed.verb:
                case "submit":
                    self._count += 1
                    self.host.daemon.submit(self._work.context(deed.name, self.host.trainers))
                    self._memory.acknowledged.add(deed.name)
                case "remove":
                    self._memory.forget(deed.name)
                    self._ask(m.REMOVE, deed.name)
                    self._removed.add(deed.name)
                case "delete":
                    self._memory.forget(deed.name)
                    self._ask(m.REMOVE, deed.name, now=True)
                case "restore":  # unless the disk ran low, which may have deleted it
                    self._removed.discard(deed.name)
                    self._ask(m.RESTORE, deed.name)
                    self._memory.acknowledged.add(deed.name)
                case "stop":
                    self._ask(m.STOP, deed.name)
                case "resume":
                    self._ask(m.RESUME, deed.name)

    def _ask(self, method: m.Method[Any, Any], name: str, **more: Any) -> None:
        self.host.daemon.call(method, method.parameters(name=name, **more))

    # -- the promises --------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Asks for the jobs until a daemon lives long enough to answer."""

        def answer() -> tuple[list[Job]] | None:
            with contextlib.suppress(DaemonUnreachable):
                self.host.revive()
                return (self.host.daemon.jobs(),)
            return None

        return until(answer, what="the daemon to answer")[0]

    def check(self) -> None:
        """Checks the promises, once the daemon is back and connected to systemd."""
        until(self._is_well, what="the daemon not to be degraded")
        jobs = self.jobs()
        self._memory.check_disk(self.host.daemon.home, self.host.trainers)
        check_swept(self.host.daemon)
        assert "Traceback" not in self.host.log.read_text(errors="replace"), "the daemon failed"
        self._served.check_memory(self.host.memory())
        there = {str(job.context.name) for job in jobs}
        assert self._memory.acknowledged <= there, f"promise 3: {self._memory.acknowledged - there} is gone"
        for job in jobs:
            self._check_job(job)

    def _is_well(self) -> bool:
        with contextlib.suppress(DaemonUnreachable):
            self.host.revive()
            return not self.host.daemon.info().degraded
        return False

    def _check_job(self, job: Job) -> None:
        name = str(job.context.name)
        assert job.runtime.state is not State.DAMAGED, f"promise 8: {job.runtime.reason}"
        check_history(self.host.daemon, self.host.trainers, name)
        if job.runtime.state is State.FAILED:
            assert job.runtime.attempt is not None
            left = job.runtime.attempt.exit
            killed = left is None or left.kind is ExitKind.UNKNOWN or left.signal == signal.SIGKILL
            assert killed or name in self._met_a_full_disk, (
                f"{name} failed by itself: {job.runtime}\n{self.host.daemon.training_log(name)[-4000:]}"
            )
        if job.runtime.state is State.COMPLETED:
            found = self._work.result(self.host.daemon.folder(name))
            self._result = self._result or found
            assert found == self._result, f"promise 5: {name} came to another result"

    def finish(self) -> None:
        """Checks that every job can still be completed, and that nothing is left of any after its removal."""
        until(self._all_completed, what="all jobs to be completed", deadline_seconds=TRAINING_SECONDS)
        self.check()
        for job in self.jobs():
            name = str(job.context.name)
            self._memory.forget(name)
            until(lambda name=name: self._is_gone(name), what=f"{name} to be removed")  # type: ignore[misc]
        assert self._folders() == []
        self.host.check_nothing_left()

    def _all_completed(self) -> bool:
        jobs = self.jobs()
        for job in jobs:
            paused = job.runtime.state is State.INTERRUPTED and (job.runtime.not_before or 0) > time.time() + 5
            if job.runtime.state in UNWATCHED:
                self.do(Deed("resume", str(job.context.name)))
            elif paused:
                self.do(Deed("stop", str(job.context.name)))
        return all(job.runtime.state is State.COMPLETED for job in jobs)

    def _is_gone(self, name: str) -> bool:
        try:
            self._ask(m.REMOVE, name, now=True)
        except NoSuchJob:
            return True
        except (WrongState, DaemonUnreachable):  # its end is still being recorded
            return False
        return True

    def evidence(self) -> str:
        """What a developer needs to find the fault: the end of the daemon's log, and all journals."""
        log = self.host.log.read_text(errors="replace")[-6000:]
        journals = "\n".join(
            f"{path}\n{path.read_text(errors='replace')}"
            for path in self.host.daemon.home.glob("outputs/*/events.jsonl")
        )
        return f"--- fluxgymd\n{log}\n--- journals\n{journals}"
