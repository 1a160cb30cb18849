# SPDX-License-Identifier: Apache-2.0
"""What must hold after every death: checked on the disk while no daemon runs, and with the daemon once it is back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from fluxgym.protocol.messages import Kind, State
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL, Home
from tests.crash.trainers import WatchedTrainers
from tests.daemon.running import Asked, tensors
from tests.harness.waiting import until


class Memory:
    """What was once true of the jobs and must remain true."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self._good: dict[str, bytes] = {}

    def forget(self, name: str) -> None:
        """Forgets a job, because it was removed."""
        self.acknowledged.discard(name)
        self._good.pop(name, None)

    def check_disk(self, path: Path, trainers: WatchedTrainers) -> None:
        """Checks that every job of a home is complete, that its journal has only grown, and that no job had two
        trainers at once."""
        home = Home(path)
        found = {folder.name: folder for folder in home.folders() if folder.is_job} if home.outputs.exists() else {}
        lost = self.acknowledged - found.keys()
        assert not lost, f"promise 3: {lost} was acknowledged and is gone"
        for name, folder in found.items():
            history = journal.read(folder.journal)
            assert history.problem is None, f"promise 8: {name}: {history.problem}"
            good = folder.journal.read_bytes()[: history.good_size]
            before = self._good.get(name, b"")
            assert good.startswith(before), f"promise 3: the journal of {name} was rewritten:\n{before!r}\n{good!r}"
            self._good[name] = good
            assert history.job is not None
            if history.job.context.kind is not Kind.PROGRAM:
                check_whole(folder.path)
        assert trainers.twice() == [], "promise 4: two trainers of one job at a time"


def check_whole(folder: Path) -> None:
    """Checks that a training has all files of its submit, as it must from the moment its folder has its name."""
    for name in ("dataset", "dataset.toml", "sample_prompts.txt", JOURNAL):
        assert (folder / name).exists(), f"promise 3: {folder.name} has no {name}"
    assert any((folder / "dataset").glob("*.png"))


def check_swept(daemon: Asked) -> None:
    """Waits until a daemon that has started has deleted unfinished and half-deleted folders. A trainer's check of a
    job also uses such a folder for a while."""

    def swept() -> bool:
        home = Home(daemon.home)
        kept = (home.trash.path, home.shared_pictures)
        return not any(path.name[0] == "." for path in home.outputs.iterdir() if path not in kept)

    until(swept, what="nothing to be left behind by a crash")


def check_history(daemon: Asked, trainers: WatchedTrainers, name: str) -> None:
    """Checks that attempts have consecutive numbers and one trainer each, and that each exit is what the shim saw."""
    events = daemon.events(name)
    marks = {event["mark"]: event["attempt"] for event in events if event["event"] == "reserved"}
    ended = {event["attempt"]: event for event in events if event["event"] == "ended"}
    started = [marks[mark] for mark in trainers.starts() if mark in marks]
    assert len(started) == len(set(started)), f"promise 4: an attempt had two trainers: {started}"
    assert sorted(marks.values()) == list(range(1, len(marks) + 1))
    for attempt, event in ended.items():
        if event["outcome"] == "never_started":
            assert attempt not in started, f"attempt {attempt} did start"
        check_exit(event, daemon.folder(name) / "attempts" / f"{attempt:03d}" / "exit.json")


def check_exit(event: dict[str, Any], file: Path) -> None:
    """Promise 2: checks that the recorded exit is what the shim saw, and that there is none if the shim saw none."""
    seen = json.loads(file.read_text()) if file.exists() else {"kind": "never-started"}
    if seen["kind"] == "never-started":
        told = event.get("exit", {"kind": "never-started"})
        assert told == {"kind": "never-started"}, f"promise 2: an exit was invented: {event}"
    else:
        kept = {key: event["exit"].get(key) for key in ("kind", "code", "signal")}
        assert kept == {key: seen.get(key) for key in kept}, f"promise 2: {kept}, but the shim saw {seen}"


def check_result(daemon: Asked, name: str, undisturbed: dict[str, bytes]) -> None:
    """Checks that the result is bit for bit that of an uninterrupted run."""
    assert daemon.job(name).runtime.state is State.COMPLETED
    same = tensors(daemon.folder(name) / f"{name}.safetensors") == undisturbed
    assert same, f"promise 5: {name} was trained to something else"


def check_nothing_runs(daemon: Asked) -> None:
    """Waits until no process of any attempt of this home is left."""
    until(lambda: not list(left_of(daemon.home)), what="the processes of all attempts to be gone")


def left_of(home: Path) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and any(str(home / "outputs") in word for word in words):
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
