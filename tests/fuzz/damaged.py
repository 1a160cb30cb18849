# SPDX-License-Identifier: Apache-2.0
"""Damages a group of files in one home, some while its daemon runs and some while it doesn't, and checks what must
hold.

Each file belongs to a different job or to the daemon itself. Two jobs run throughout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fluxgym.errors import FluxgymError, InternalError, StorageFailed, UnknownError
from fluxgym.protocol import dataset_methods as d
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.dataset_messages import DatasetState
from fluxgym.protocol.messages import Exit, ExitKind, Job, State
from tests.crash.promises import check_nothing_runs
from tests.daemon.running import FINAL, program
from tests.fuzz import material
from tests.fuzz.kinds import JOURNAL, KINDS, Kind, files, job_of
from tests.fuzz.served import Served
from tests.fuzz.ways import HUGE_BYTES, WAYS, Way
from tests.harness.waiting import until
from tests.wire.observing import process_of

RUNNING = ("running-0", "running-1")
QUICK = "quick"
FIRST = f"{QUICK}-first"
GONE = (State.FAILED, State.DAMAGED, State.LOST)
"""The possible states of a job whose program exited with an error, depending on what the files still tell."""


@dataclass(frozen=True)
class Damage:
    path: str
    kind: Kind
    way: Way
    content: bytes
    """The file's content after the damage; empty if it isn't a regular file, or has a hole."""

    def __str__(self) -> str:
        return f"{self.path}: {self.way.name}"


@dataclass
class Group:
    """One home to damage. `folder`: empty, with a short path."""

    folder: Path
    template: Path
    served: Served = field(default_factory=Served)
    """How well its daemons answer an honest client, and how much memory they take."""
    damages: list[Damage] = field(default_factory=list)
    _restarted: bool = False

    def play(self, choices: Sequence[Random], tell: Callable[[str], None]) -> None:
        """Does one damage for each choice; raises an AssertionError if something doesn't hold."""
        material.copy(self.template, self.folder)
        self.daemon = material.daemon_in(self.folder)
        with ExitStack() as stack:
            stack.callback(self._end)
            gate = stack.enter_context(ExitStack())
            gate.enter_context(material.shut_gate(self.folder))
            self.daemon.start()
            for name in RUNNING:
                self.daemon.submit(program(name, material.SCRIPT))
                self.daemon.wait(name, State.RUNNING)
            self._runs_a_job(FIRST)  # its end loads GLib, for the desktop: 9 MB in any home
            self._before = {str(job.context.name): job for job in self.daemon.jobs()}
            self.served.measure_quiet(self.daemon, self._rss, calls=100)
            now: list[Random] = []
            later: list[Random] = []
            for choice in choices:
                (now if choice.random() < 0.5 else later).append(choice)
            with self.served.measured(self.daemon):
                for choice in now:
                    tell(f"while it runs: {self._damage(choice)}")
                self._look()
            self._runs_a_job(f"{QUICK}-0")
            if choices[0].random() < 0.5:
                self.daemon.kill()
            else:
                self.daemon.stop()
            for choice in later:
                tell(f"while it does not: {self._damage(choice)}")
            self._start()
            self._restarted = True  # a running daemon has its journals in memory and reads none
            with self.served.measured(self.daemon):
                self._look()
            self._runs_a_job(f"{QUICK}-1")
            with self.served.measured(self.daemon):
                gate.close()
                for name in RUNNING:
                    until(lambda name=name: self._is_over(name), what=f"{name} to be over")  # type: ignore[misc]
                self._look()
            self._check_evidence()
            self._check_starts()

    def _end(self) -> None:
        """Checks that all programs exit on their own once the gate is open."""
        if self.daemon.process is not None:
            self.daemon.kill()
        check_nothing_runs(self.daemon)

    # -- the damage ----------------------------------------------------------------------------------------------

    def _damage(self, choice: Random) -> Damage:
        """Damages a file of a job that has no damage so far, or a file of the daemon's own. First chooses among the
        kinds of files that exist: a third of the time journals, a third of the time kinds that decide something, else
        any kind."""
        taken = {job_of(damage.path) or damage.path for damage in self.damages}
        there = {path: kind for path, kind in files(self.folder).items() if (job_of(path) or path) not in taken}
        kinds = [kind for kind in KINDS if kind in there.values()]
        pools = [[kind for kind in kinds if kind is JOURNAL], [kind for kind in kinds if kind.decides], kinds]
        kind = choice.choice(choice.choice([pool for pool in pools if pool]))
        path = choice.choice([path for path, its in there.items() if its is kind])
        way = choice.choice(WAYS)
        way.do(self.folder / path, choice)
        damage = Damage(path, kind, way, _content(self.folder / path))
        self.damages.append(damage)
        return damage

    def _start(self) -> None:
        """Starts the daemon. If its own files are damaged it may refuse to start, but not after they have been
        repaired."""
        try:
            self.daemon.start()
            return
        except AssertionError:
            log = self.daemon.log.read_text(errors="replace")
            if "Traceback" in log or not re.search(r"^fluxgymd: .+[.?]$", log, re.MULTILINE):
                raise
            self.daemon.process = None
            self._repair()
        self.daemon.start()

    def _repair(self) -> None:
        """Restores the daemon's own damaged files from the template."""
        own = [damage.path for damage in self.damages if not damage.kind.of_job]
        assert own, "nothing of the daemon's own was damaged"
        for name in own:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            if (self.template / name).exists():
                shutil.copy(self.template / name, path)

    # -- what must hold ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Checks everything that the daemon reports."""
        self.daemon.info()
        jobs = {str(job.context.name): job for job in self.daemon.jobs()}
        missing = self._before.keys() - jobs.keys()
        assert not missing, f"promise 8: {missing} is not told of any more"
        for name, job in jobs.items():
            self._ask_everything(name)
            if name in self._before:
                self._check_job(name, job)
        self._look_at_datasets()
        assert "Traceback" not in self.daemon.log.read_text(errors="replace"), "the daemon failed"
        self.served.check_memory(self._rss)

    def _look_at_datasets(self) -> None:
        with Connection(self.daemon.socket) as connection:
            told = [reply.dataset for reply in connection.stream(d.LIST_DATASETS, d.ListDatasetsParameters())]
            states = {dataset.name: dataset.state for dataset in told if dataset is not None}
            for name in material.DATASETS:
                self._ask(lambda name=name: connection.call(d.DESCRIBE_DATASET, d.DatasetName(name=name)))  # type: ignore[misc]
                self._ask(lambda name=name: list(connection.stream(d.PICTURES, d.PicturesParameters(name=name))))  # type: ignore[misc]
        for name in material.DATASETS:
            damaged = any(damage.path == f"home/datasets/{name}/events.jsonl" for damage in self.damages)
            assert states.get(name) is DatasetState.STORED or damaged, f"{name} is reported as {states.get(name)}"

    @property
    def _rss(self) -> int:
        """The daemon's memory in bytes."""
        return process_of(self.daemon).memory_info().rss

    def _ask_everything(self, name: str) -> None:
        parameters = m.JobName(name=name)
        for method in (m.DESCRIBE, m.CHECKPOINTS, m.WATCHDOG):
            self._ask(lambda method=method: self.daemon.call(method, parameters))  # type: ignore[misc]
        with Connection(self.daemon.socket) as connection:
            self._ask(lambda: list(connection.stream(m.HISTORY, parameters)))
            self._ask(lambda: list(connection.stream(m.LOGS, m.LogsParameters(name=name, offset=-10))))

    def _ask(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except (InternalError, UnknownError) as error:
            raise AssertionError(f"{error.wire_name}: {error}") from error
        except FluxgymError:
            return

    def _check_job(self, name: str, job: Job) -> None:
        before, told = self._before[name].runtime, job.runtime
        damage = next((damage for damage in self.damages if job_of(damage.path) == name), None)
        if told.state is State.DAMAGED:
            assert damage is not None, f"promise 8: {name} is called damaged: {told.reason}"
            assert damage.kind.decides, f"{name} is called damaged because of {damage}: {told.reason}"
            assert told.reason
        elif damage is not None and self._restarted and is_broken(damage):
            raise AssertionError(f"promise 8: {damage} was not noticed: {name} is {told.state}")
        elif damage is None or not damage.kind.decides:
            over = told.state is State.FAILED and name in RUNNING
            assert told.id == before.id
            assert told.state is before.state or over, (
                f"{name} was {before.state}, and is {told.state}: {told.reason}"
            )
        if damage is None or not damage.way.forges:
            exit_ = told.attempt.exit if told.attempt is not None else None
            assert is_true(exit_, name), f"promise 2: {name} left with {exit_}"

    def _runs_a_job(self, name: str) -> None:
        """Takes a new job through its complete life. A damaged record of the machine pauses the queue. The user
        continues it, and has to move away a folder that is in the record's place."""
        if self.daemon.info().queue_paused:
            try:
                self.daemon.call(mm.CONTINUE, m.Nothing())
            except StorageFailed:
                self.daemon.stop()
                self._repair()
                self.daemon.start()
        self.daemon.submit(program(name, material.DONE))
        self.daemon.wait(name, State.COMPLETED)

    def _is_over(self, name: str) -> bool:
        job = self.daemon.job(name)
        whole = all(job_of(damage.path) != name or not damage.kind.decides for damage in self.damages)
        if whole and job.runtime.state is State.FAILED:
            assert job.runtime.attempt is not None
            assert job.runtime.attempt.exit is not None, f"promise 2: the end of {name} is not known"
            assert job.runtime.attempt.exit.code == material.STATUS
        return job.runtime.state in FINAL if whole else job.runtime.state in GONE

    def _check_evidence(self) -> None:
        """Promise 8: each damaged file that is evidence still has its content, possibly with data appended, or with
        its tail moved to a file beside it."""
        for damage in self.damages:
            path = self.folder / damage.path
            if damage.kind.replaced or not (damage.kind.of_job or damage.path.startswith("home/datasets/")):
                continue
            assert os.path.lexists(path), f"promise 8: {damage} was deleted"
            assert _is_kept(damage.content, path), f"promise 8: {damage} was overwritten"

    def _check_starts(self) -> None:
        """Promise 4: no attempt started two programs, and no job was started more often than its journal says."""
        for path in (self.folder / "starts").iterdir():
            marks = path.read_text().split()
            assert len(marks) == len(set(marks)), f"promise 4: an attempt of {path.name} ran twice"
            expected = 0 if path.name in material.WAITING else 1
            forged = any(job_of(damage.path) == path.name and damage.way.forges for damage in self.damages)
            assert len(marks) <= expected or forged, f"promise 4: {path.name} ran {len(marks)} times"


def _content(path: Path) -> bytes:
    about = path.lstat()
    return path.read_bytes() if stat.S_ISREG(about.st_mode) and about.st_size < HUGE_BYTES else b""


def _is_kept(content: bytes, path: Path) -> bool:
    """Whether the content is still in the file, possibly without its tail, which is then in a file beside it."""
    now = _content(path)
    tails = [_content(beside) for beside in path.parent.glob(f"{path.name}.torn-*")]
    return any(
        content.endswith(tail) and now.startswith(content[: len(content) - len(tail)]) for tail in [b"", *tails]
    )


def is_broken(damage: Damage) -> bool:
    """Whether it is damage to a journal that leaves a line that isn't JSON, other than the torn end of a write."""
    if damage.kind is not JOURNAL:
        return False
    lines = damage.content.split(b"\n")[:-1]
    return any(not _is_json(line) and (line is not lines[-1] or b"\0" not in line) for line in lines)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def is_true(told: Exit | None, name: str) -> bool:
    """Whether this is how the program really exited, or says that this isn't known."""
    if told is None or told.kind in (ExitKind.UNKNOWN, ExitKind.NEVER_STARTED):
        return True
    status = material.STATUS if name.startswith(("failed", "running")) else 0
    return told.kind is ExitKind.EXITED and told.code == status
