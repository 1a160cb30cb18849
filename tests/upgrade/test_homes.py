# SPDX-License-Identifier: Apache-2.0
"""Tests on homes of other versions: those of older ones are read as they were meant, and events of newer ones are not
guessed."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from fluxgym.errors import JobDamaged
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from fluxgymd.attempts import records_on_disk
from fluxgymd.core.journal import events as e
from fluxgymd.jobs.registry import Registry
from fluxgymd.store import journal
from fluxgymd.store.home import Home
from fluxgymd.store.writer import Writer
from tests.daemon.running import RunningDaemon
from tests.data.frozen import record
from tests.upgrade.conftest import VERSIONS
from tests.upgrade.shapes import missing

ADDED = {"annotated", "restored", "watchdog_set"}
"""Events that were added after the homes were frozen. tests/core/test_events.py has a line for each."""


def journals(version: Path) -> list[Path]:
    return sorted(version.glob("outputs/*/events.jsonl"))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def expected(version: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((version / "expected.json").read_text())
    return found


REWORDED = {
    "Its machine is gone, the user says.": "The user confirmed that it is no longer running.",
    "Sight of it was lost: ": "Lost contact with the job: ",
    "Its GPU stays taken.": "Its GPU stays reserved.",
}
"""What version 1 said -> what the daemon says now. These sentences are not in the journal."""


def reworded(runtime: dict[str, Any]) -> dict[str, Any]:
    reason = runtime.get("reason")
    for old, new in REWORDED.items():
        reason = reason.replace(old, new) if reason is not None else None
    return runtime if reason is None else runtime | {"reason": reason}


def test_promise_9_the_jobs_of_an_older_version_are_unchanged(version: Path, daemon: RunningDaemon) -> None:
    before, now = expected(version), record.told(daemon)
    assert now.keys() == before.keys()
    for name, job in before.items():
        assert not missing(job, now[name], name)
        for key in ("id", "state", "reason", "attempt", "submittedAt", "stepsLost", "home", "result"):
            assert now[name]["runtime"].get(key) == reworded(job["runtime"]).get(key), f"{name}: {key}"
        kinds = [shown["runtime"].get("failure", {}).get("kind") for shown in (job, now[name])]
        assert kinds[0] == kinds[1], name  # the wording of the advice may change
        assert {**now[name]["context"], **job["context"]} == now[name]["context"]


def test_looking_at_them_changes_only_the_journal_of_the_lost_job(version: Path, daemon: RunningDaemon) -> None:
    for name in expected(version):
        before = (version / "outputs" / name / "events.jsonl").read_bytes()
        now = (daemon.folder(name) / "events.jsonl").read_bytes()
        assert now.startswith(before)
        assert (now == before) or name == "running"


def test_each_event_is_shown_as_a_sentence(version: Path, daemon: RunningDaemon) -> None:
    for path in journals(version):
        with Connection(daemon.socket) as connection:
            replies = list(connection.stream(m.HISTORY, m.JobName(name=path.parent.name)))
        assert len([reply for reply in replies if reply.text]) >= len(path.read_bytes().splitlines())


def test_the_frozen_journals_contain_every_event() -> None:
    """If you add an event, record it: `python -m tests.data.frozen.record`."""
    found = {json.loads(line)["event"] for path in VERSIONS for log in journals(path) for line in _lines(log)}
    assert found | ADDED >= {kind.__struct_config__.tag for kind in get_args(e.AnyEvent)}


def test_promise_2_the_records_of_an_older_shim_are_read(version: Path) -> None:
    kinds = set()
    for folder in sorted(version.glob("outputs/*/attempts/*")):
        found = records_on_disk.read(folder)
        assert found.notes == ()
        assert found.shim is not None
        assert found.started is not None
        if found.exit is not None:
            kinds.add((found.exit.kind, found.exit.code, found.exit.signal))
    assert kinds >= {("exited", 0, None), ("exited", 3, None), ("signaled", None, 11), ("signaled", None, 15)}


def test_a_job_of_a_machine_that_is_gone_continues_here(daemon: RunningDaemon) -> None:
    daemon.call(m.RESUME, m.ResumeParameters(name="running", assume_gone=True))
    daemon.call(mm.CONTINUE, m.Nothing())
    assert daemon.wait("running", State.RUNNING).runtime.attempt is not None
    daemon.call(m.STOP, m.StopParameters(name="running"))
    daemon.wait("running", State.STOPPED)
    kinds = [event["event"] for event in daemon.events("running")]
    assert kinds[5:] == [
        *("sight_lost", "disowned", "reserved", "spawned", "placed", "started"),
        *("stop_asked", "ended"),
    ]
    assert "Traceback" not in daemon.log.read_text()


# --- homes of a newer version


def newer(tmp_path: Path, *, line: int, change: dict[str, Any], job: str = "completed") -> Path:
    """Copies a journal of the newest frozen version, with one line changed as a newer version might write it."""
    home = tmp_path / "home"
    shutil.copytree(VERSIONS[-1] / "outputs" / job, home / "outputs" / job)
    path = home / "outputs" / job / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = json.dumps({**json.loads(lines[line]), **change}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    return path


def test_promise_9_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    before = journal.read(VERSIONS[-1] / "outputs" / "completed" / "events.jsonl")
    for line in range(len(_lines(VERSIONS[-1] / "outputs" / "completed" / "events.jsonl"))):
        found = journal.read(newer(tmp_path / str(line), line=line, change={"newField": {"deep": [1]}}))
        assert found.problem is None
        assert found.job == before.job


@pytest.mark.parametrize(
    ("line", "change", "says"),
    [
        (-1, {"event": "refined"}, r"line \d of events.jsonl is not an event: Invalid value 'refined'"),
        (-1, {"outcome": "half done"}, "'half done', which this version does not know"),
        (0, {"context": {"name": "completed", "kind": "dance"}}, "its kind is unknown to this version"),
    ],
)
def test_promise_8_an_event_of_a_newer_version_makes_the_job_damaged_and_is_left_alone(
    tmp_path: Path, line: int, change: dict[str, Any], says: str
) -> None:
    path = newer(tmp_path, line=line, change=change)
    before = path.read_bytes()
    registry = Registry(Home(tmp_path / "home"), Writer())
    registry.load()
    with pytest.raises(JobDamaged, match=says):
        registry.sound("completed")
    with pytest.raises(JobDamaged):
        asyncio.run(registry.record(registry.entry("completed"), e.ResumeAsked(at=1.0)))
    registry.writer.close()
    assert path.read_bytes() == before
