# SPDX-License-Identifier: Apache-2.0
"""Secures the evidence of a hang before the attempt is stopped: wakes processes that were stopped or frozen, and
saves what can be seen of the hang (evidence_files.py).

Every part has a deadline and may fail: a hung volume, a full disk or a process that hangs in the kernel costs its own
part of the evidence, but never holds up the stop. A restarted daemon completes what is missing.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fluxgymd.attempts import processes
from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.core.job import Attempt, Hang
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import monitor
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.progress.metrics import size
from fluxgymd.watchdog import evidence_files, proc
from fluxgymd.watchdog.lane import in_thread

log = logging.getLogger(__name__)

T = TypeVar("T")

PART_SECONDS = 10.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One attempt that hangs."""

    folder: JobFolder
    attempt: Attempt
    hang: Hang
    adapter: Adapter
    ref: AttemptRef

    @property
    def evidence(self) -> Path:
        return self.folder.attempt(self.attempt.number) / evidence_files.EVIDENCE


async def secure(scene: Scene, observations: Sequence[Observation]) -> bool:
    """Wakes the attempt, saves the evidence, and notes that in monitor.log. Returns whether the stacks are still
    missing and the trainer would write them on a SIGABRT, which also ends it."""
    failpoint("stuck.recorded")
    await _part("rousing it", scene.adapter.rouse(scene.ref))
    failpoint("stuck.roused")
    if not await _is_saved(scene):
        await _save(scene, observations)
    failpoint("stuck.saved")
    if not await _has_stacks(scene):
        await _ask_for_stacks(scene)
    failpoint("stuck.asked")
    await _part("writing monitor.log", monitor.note(scene.folder, _paragraph(scene)))
    return not await _has_stacks(scene) and await _catches(scene, signal.SIGABRT)


async def secure_rest(scene: Scene, observations: Sequence[Observation]) -> None:
    """Completes the evidence after the attempt's end: the stacks that a trainer wrote when it was aborted, and
    everything else if it ended before that was saved (the machine went down)."""
    if not await _is_saved(scene):
        await _save(scene, observations)
    if not await _has_stacks(scene):
        await _take_stacks(scene, scene.attempt.log_offset)


async def _save(scene: Scene, observations: Sequence[Observation]) -> None:
    described = await _part("looking at its processes", _describe(scene))
    if described is None:
        found = "The processes could not be examined.\n"
    else:
        found = described or "None of its processes was left.\n"
    attempt, folder = scene.attempt, scene.folder

    def write() -> None:
        evidence_files.write(
            scene.evidence,
            scene.hang,
            observations=observations,
            processes=found,
            log=folder.log,
            begin=attempt.log_offset,
        )

    await _part("saving the evidence", in_thread(write))


async def _describe(scene: Scene) -> str:
    members = await scene.adapter.processes(scene.ref)
    return await in_thread(lambda: proc.describe(members))


async def _ask_for_stacks(scene: Scene) -> None:
    """Asks by SIGQUIT if the trainer has a handler for it: our trainer then writes its stacks to the log and lives.
    With several GPUs nothing is sent, because the launcher would end all trainers on a SIGQUIT."""
    if len(scene.attempt.gpus) > 1 or not await _catches(scene, signal.SIGQUIT):
        return
    begin = await _part("looking at its log", in_thread(lambda: size(scene.folder.log)))
    if begin is not None and await _part(
        "asking for its stacks", scene.adapter.send_signal(scene.ref, signal.SIGQUIT)
    ):
        await _part("waiting for its stacks", _written(scene, begin))
        await _take_stacks(scene, begin)


async def _written(scene: Scene, begin: int) -> None:
    """Waits until there are stacks in the log and no more come."""
    before = b""
    while True:
        stacks = await in_thread(lambda: evidence_files.stacks_in(scene.folder.log, begin))
        if stacks and stacks == before:
            return
        before = stacks
        await asyncio.sleep(LOOK_SECONDS)


async def _take_stacks(scene: Scene, begin: int) -> None:
    def take() -> None:
        stacks = evidence_files.stacks_in(scene.folder.log, begin)
        if stacks:
            evidence_files.write_stacks(scene.evidence, stacks)

    await _part("saving its stacks", in_thread(take))


async def _is_saved(scene: Scene) -> bool:
    return bool(await _part("looking for its evidence", in_thread(lambda: evidence_files.saved(scene.evidence))))


async def _has_stacks(scene: Scene) -> bool:
    return bool(await _part("looking for its stacks", in_thread(lambda: evidence_files.has_stacks(scene.evidence))))


async def _catches(scene: Scene, number: signal.Signals) -> bool:
    trainer = scene.attempt.trainer
    if trainer is None:
        return False
    return bool(await _part("looking at its signals", in_thread(lambda: processes.catches(trainer, number))))


async def _part(what: str, work: Awaitable[T]) -> T | None:
    """The result of one part; None if it failed or did not come in time."""
    try:
        async with asyncio.timeout(PART_SECONDS):
            return await work
    except Exception as error:  # noqa: BLE001 - whatever fails, the stop follows
        log.warning("evidence of a hang: %s failed: %s %s", what, type(error).__name__, error)
        return None


def _paragraph(scene: Scene) -> str:
    hang, where = scene.hang, scene.evidence.relative_to(scene.folder.path)
    phase = f" in the phase {hang.phase}" if hang.phase is not None else ""
    step = f" at step {hang.step}" if hang.step else ""
    since = time.strftime("%H:%M:%S", time.localtime(hang.since))
    lines = [f"watchdog: stuck since {since}{phase}{step}. {hang.why}", *hang.evidence]
    lines.append(f"The evidence is in {where}. The job will be stopped now, and resumed if its settings allow that.")
    return "\n    ".join(lines)
