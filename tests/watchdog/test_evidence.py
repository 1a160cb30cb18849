# SPDX-License-Identifier: Apache-2.0
"""Tests of the evidence of a hang: what is saved, what is left out if it is not available, and that nothing delays
the stop."""

import asyncio
import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fluxgymd.attempts import processes
from fluxgymd.attempts.port import AttemptRef
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt, Hang, Live, fold
from fluxgymd.core.journal.records import Process
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.jobs.spec import attempt_ref
from fluxgymd.store.home import JobFolder
from fluxgymd.watchdog import evidence, evidence_files
from fluxgymd.watchdog.evidence import Scene
from tests.core import histories as h
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.store.small_disk import fill, small_disk
from tests.watchdog.processes import SLEEPS, running

READING = Reading(index=0, uuid="GPU-1", name="NVIDIA H200", utilization=3)
LOOKS = (
    Observation(at=1.0, clock=1.0, log_bytes=5, gpus=(READING,)),
    Observation(at=2.0, clock=2.0, log_bytes=5, gpus=None),
)
ASKS = "import faulthandler, signal; faulthandler.register(signal.SIGQUIT)"
DUMP = 'steps: 5%| Thread 0x00007f (most recent call first):\n  File "a.py", line 1 in waits\n'


def hang_of() -> tuple[Attempt, Hang]:
    state = fold([*h.WAYS["running"], h.stuck()]).state
    assert isinstance(state, Live)
    assert state.attempt.hang is not None
    return state.attempt, state.attempt.hang


def scene_of(folder: JobFolder, trainer: Process | None = None) -> Scene:
    """Returns the scene of an attempt from another machine, so that no process here belongs to it."""
    attempt, hang = hang_of()
    attempt = msgspec.structs.replace(attempt, trainer=trainer)
    folder.attempt(1).mkdir(parents=True, exist_ok=True)
    return Scene(
        folder=folder,
        attempt=attempt,
        hang=hang,
        adapter=ProcessAdapter(stop_limit=1),
        ref=attempt_ref(attempt, folder.attempt(1)),
    )


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "my-lora")
    folder.path.mkdir()
    folder.log.write_text("steps: 40/160\n")
    return folder


def test_observations_are_saved_and_reported(folder: JobFolder) -> None:
    scene = scene_of(folder)
    asyncio.run(evidence.secure(scene, LOOKS))
    saved = {path.name: path.read_text() for path in scene.evidence.iterdir()}
    assert set(saved) == {"verdict.json", "observations.jsonl", "nvml.json", "processes.txt", "log-tail.txt"}
    assert json.loads(saved["verdict.json"])["why"] == "Nothing moved for 600 s."
    assert [json.loads(line)["at"] for line in saved["observations.jsonl"].splitlines()] == [1.0, 2.0]
    assert json.loads(saved["nvml.json"])["gpus"][0]["uuid"] == "GPU-1"  # the last known reading
    assert saved["log-tail.txt"] == "steps: 40/160\n"
    told = folder.monitor_log.read_text()
    assert re.search(
        r"  Watchdog: stuck since [\d:]{8} in the phase training at step 40\. Nothing moved for 600 s\.\n", told
    )
    assert "The evidence is in attempts/001/evidence." in told


def test_evidence_that_is_already_saved_is_left_alone(folder: JobFolder) -> None:
    scene = scene_of(folder)
    asyncio.run(evidence.secure(scene, LOOKS))
    (scene.evidence / "observations.jsonl").write_text("as the daemon before saw it\n")
    asyncio.run(evidence.secure(scene, ()))
    assert (scene.evidence / "observations.jsonl").read_text() == "as the daemon before saw it\n"


def test_half_saved_evidence_is_saved_again(folder: JobFolder) -> None:
    scene = scene_of(folder)
    asyncio.run(evidence.secure(scene, LOOKS))
    (scene.evidence / "verdict.json").unlink()  # it is written last
    (scene.evidence / "processes.txt").write_text("ha")
    asyncio.run(evidence.secure(scene, LOOKS))
    assert (scene.evidence / "processes.txt").read_text() != "ha"
    assert evidence_files.saved(scene.evidence)


@pytest.mark.parametrize(
    ("log", "stacks"),
    [
        ("nothing of it\n", ""),
        (f"before\n{DUMP}", DUMP.removeprefix("steps: 5%| ")),
        (f"x\nFatal Python error: Aborted\n\n{DUMP}", f"Fatal Python error: Aborted\n\n{DUMP}"),
        ("Current thread 0x1f (most recent call first):\n", "Current thread 0x1f (most recent call first):\n"),
    ],
)
def test_stacks_are_found_in_the_log_of_the_attempt(folder: JobFolder, log: str, stacks: str) -> None:
    earlier = f"Fatal Python error: of an attempt before\n{DUMP}"
    folder.log.write_text(earlier + log)
    assert evidence_files.stacks_in(folder.log, len(earlier)).decode() == stacks


def test_the_stacks_of_an_aborted_trainer_are_taken_at_its_end(folder: JobFolder) -> None:
    scene = scene_of(folder)
    folder.log.write_text(f"Fatal Python error: Aborted\n\n{DUMP}")
    asyncio.run(evidence.secure_rest(scene, LOOKS))
    assert (scene.evidence / "stacks.txt").read_text().startswith("Fatal Python error: Aborted")
    (scene.evidence / "stacks.txt").write_text("asked for before")
    asyncio.run(evidence.secure_rest(scene, LOOKS))
    assert (scene.evidence / "stacks.txt").read_text() == "asked for before"


def test_the_stacks_of_a_trainer_that_printed_for_days_are_at_the_end_of_its_log(folder: JobFolder) -> None:
    scene = scene_of(folder)
    folder.log.write_text("steps: 5%|#\r" * 500_000 + f"Fatal Python error: Aborted\n\n{DUMP}")
    assert folder.log.stat().st_size > evidence_files.MOST_BYTES
    asyncio.run(evidence.secure_rest(scene, LOOKS))
    assert (scene.evidence / "stacks.txt").read_text() == f"Fatal Python error: Aborted\n\n{DUMP}"


def test_promise_7_an_attempt_that_ended_before_its_evidence_was_saved_has_some(folder: JobFolder) -> None:
    """The daemon died after the verdict, and then the machine went down."""
    scene = scene_of(folder)
    asyncio.run(evidence.secure_rest(scene, LOOKS))
    assert evidence_files.saved(scene.evidence)
    assert (scene.evidence / "log-tail.txt").read_text() == "steps: 40/160\n"
    assert (scene.evidence / "processes.txt").read_text() == "None of its processes was left.\n"
    (scene.evidence / "processes.txt").write_text("as it was seen alive\n")
    asyncio.run(evidence.secure_rest(scene, ()))
    assert (scene.evidence / "processes.txt").read_text() == "as it was seen alive\n"


def test_a_trainer_that_would_print_its_stacks_when_aborted_is_recognized(folder: JobFolder) -> None:
    with running(SLEEPS) as plain:
        assert not asyncio.run(evidence.secure(scene_of(folder, plain), LOOKS))
    with running(f"import faulthandler; faulthandler.enable(); print(flush=True)\n{SLEEPS}") as python:
        scene = scene_of(folder, python)
        until(lambda: asyncio.run(evidence.secure(scene, LOOKS)), what="its handler")


def test_a_full_disk_does_not_delay_the_stop(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        folder = JobFolder(disk / "my-lora")
        folder.path.mkdir()
        scene = scene_of(folder)
        fill(disk)
        asyncio.run(evidence.secure(scene, LOOKS))
        assert not evidence_files.saved(scene.evidence)


class Asked(ProcessAdapter):
    """Records the signals. Those to an attempt of another machine are never sent."""

    def __init__(self) -> None:
        super().__init__(stop_limit=1)
        self.signals: list[int] = []

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        self.signals.append(number)
        return await super().send_signal(ref, number)


@pytest.mark.parametrize(("gpus", "signals"), [(["GPU-1"], [signal.SIGQUIT]), (["GPU-1", "GPU-2"], [])])
def test_a_launcher_is_not_asked_for_stacks(
    gpus: list[str], signals: list[int], folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher runs on several GPUs. SIGQUIT would end its processes before their evidence is saved."""
    monkeypatch.setattr(evidence, "PART_SECONDS", 0.2)
    with running(f"{ASKS}\n{SLEEPS}") as trainer:
        until(lambda: processes.catches(trainer, signal.SIGQUIT), what="its handler")
        scene, adapter = scene_of(folder, trainer), Asked()
        attempt = msgspec.structs.replace(scene.attempt, gpus=gpus)
        asyncio.run(evidence.secure(replace(scene, attempt=attempt, adapter=adapter), LOOKS))
    assert adapter.signals == signals


def test_a_hung_volume_does_not_delay_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of the evidence is abandoned at its deadline, which is short here."""
    monkeypatch.setattr(evidence, "PART_SECONDS", 0.2)
    whole = JobFolder(tmp_path / "whole")
    whole.path.mkdir()
    (tmp_path / "volume").mkdir()
    with HungVolume(tmp_path / "volume"), running(f"{ASKS}\n{SLEEPS}") as trainer:
        scene = scene_of(whole, trainer)
        until(lambda: processes.catches(trainer, signal.SIGQUIT), what="its handler")
        hung = replace(scene, folder=JobFolder(tmp_path / "volume" / "my-lora"))

        async def within_a_minute() -> None:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await evidence.secure(hung, LOOKS)
                await evidence.secure_rest(hung, LOOKS)

        asyncio.run(within_a_minute())
