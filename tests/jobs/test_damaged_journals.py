# SPDX-License-Identifier: Apache-2.0
"""Whatever a disk or a person does to the journal of one job, that job is damaged or sound, and all others are
shown."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fluxgym.protocol.messages import Kind, State
from fluxgymctl.prose import jobs, words
from fluxgymd.core.journal import events as e
from fluxgymd.core.schedule import Machine, decide, queue
from fluxgymd.jobs import loading, view
from fluxgymd.jobs.loading import LoadedJob
from fluxgymd.jobs.registry import Registry
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.writer import Writer
from tests.core import histories as h
from tests.fuzz.junk import JUNK, damaged, places


def program(history: list[e.AnyEvent]) -> list[e.AnyEvent]:
    """The same history for a job of the kind `program`."""
    first = history[0]
    assert isinstance(first, e.Submitted)
    context = msgspec.structs.replace(first.context, kind=Kind.PROGRAM, program=["/bin/true"])
    return [msgspec.structs.replace(first, context=context), *history[1:]]


LINES = {way: list(map(e.encode, program(history))) for way, history in h.WAYS.items() if history}


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    lines = list(LINES[draw(st.sampled_from(sorted(LINES)))])
    number = draw(st.integers(0, len(lines) - 1))
    path = draw(st.sampled_from(list(places(json.loads(lines[number])))))
    lines[number] = damaged(lines[number], path, draw(st.sampled_from(JUNK)))
    return b"".join(lines)


def one(way: str, *path: str | int, junk: str, line: int = 0) -> bytes:
    lines = list(LINES[way])
    lines[line] = damaged(lines[line], path, junk)
    return b"".join(lines)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journal=journals())
@example(journal=one("completed", "priority", junk="9" * 20))
@example(journal=one("completed", "context", "kind", junk="null"))
@example(journal=one("queued", "context", "priority", junk="9" * 400))
@example(journal=one("completed", "context", "name", junk='"other"'))
@example(journal=one("running", "at", junk="1e308"))
@example(journal=one("failed", "exit", "code", junk="9" * 20, line=-1))
@example(journal=one("completed", "reason", junk='""', line=-1))
@example(journal=b"".join(LINES["interrupted"] * 1)[:-1] + b"\0" * 4096)
def test_promise_8_whatever_one_journal_contains_its_job_is_damaged_or_shown_and_hides_no_other(
    tmp_path_factory: pytest.TempPathFactory, journal: bytes
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    for name, data in (("my-lora", journal), ("other", b"".join(map(e.encode, [h.submitted(name="other")])))):
        folder = home.outputs / name
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_bytes(data)
    registry = Registry(home, Writer())
    registry.load()
    registry.writer.close()
    assert {entry.name for entry in registry} == {"my-lora", "other"}
    assert registry.entry("other").state is State.QUEUED
    entry = registry.entry("my-lora")
    shown = view.show(entry)
    assert shown.context.name == "my-lora", "no verb finds it under another name"
    assert msgspec.json.decode(msgspec.json.encode(shown), type=type(shown)) == shown
    assert words.age(shown.runtime.submitted_at, now=0.0)
    assert words.timestamp(shown.runtime.submitted_at)
    assert jobs.why(shown)
    machine = Machine(machine_id="m" * 32, gpus=("GPU-1",), program_slots=2, paused=False, problem=None)
    decided = decide({job.name: job for job in registry.jobs()}, machine, 1000.0)
    assert "other" in {decision.job for decision in decided}
    assert "other" in {job.name for job in queue(registry.jobs())}


def test_a_job_that_adds_up_to_more_than_a_record_can_hold_is_damaged(tmp_path: Path) -> None:
    most = 2**64 - 1
    history: list[e.AnyEvent] = [h.submitted(), h.reserved(), h.started(), h.ended("interrupted", steps_lost=most)]
    history += [h.reserved(2), h.started(2), h.ended("completed", 2, steps_lost=most)]
    folder = JobFolder(tmp_path / "my-lora")
    folder.path.mkdir()
    for cut in (7, 6):  # 7 events: the job is over; 6: it runs
        folder.journal.write_bytes(b"".join(map(e.encode, history[:cut])))
        found = loading.read(folder)
        assert (found.damage is not None) == (cut == 7)
    folder.journal.write_bytes(b"".join(map(e.encode, [*history, h.RESUME_ASKED])))
    assert "cannot be loaded (OverflowError" in (loading.read(folder).damage or "")


def test_a_bug_with_one_job_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    for name in ("one", "two"):
        (home.outputs / name).mkdir(parents=True)
        (home.outputs / name / "events.jsonl").write_bytes(e.encode(h.submitted(name=name)))
    really = loading._read

    def fail(folder: JobFolder) -> LoadedJob:
        if folder.name == "one":
            raise RuntimeError("unforeseen")
        return really(folder)

    monkeypatch.setattr(loading, "_read", fail)
    registry = Registry(home, Writer())
    registry.load()
    registry.writer.close()
    assert {entry.name: entry.state for entry in registry} == {"one": State.DAMAGED, "two": State.QUEUED}
    assert "events.jsonl cannot be loaded (RuntimeError: unforeseen)" in (registry.entry("one").damage or "")
