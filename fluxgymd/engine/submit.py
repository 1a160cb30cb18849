# SPDX-License-Identifier: Apache-2.0
"""A submit: checks everything that can be checked, builds the job's folder, and publishes it durably.

The answer is sent after the rename is on the disk (promise 3). Whatever fails before leaves nothing behind.
"""

import asyncio
import secrets
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidDataset, NameTaken, StorageFailed
from fluxgym.messages import Context, Kind
from fluxgym.names import check_name
from fluxgymd import lanes
from fluxgymd.core import events
from fluxgymd.datasets.snapshot import Snapshot
from fluxgymd.engine import reading
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.preflight import Preflight
from fluxgymd.engine.reading import Read
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JOURNAL, Home, JobFolder
from fluxgymd.trainers import kohya, settings

AT_ONCE = 16
"""Submits that are prepared at a time: each of them opens its pictures in a program of its own (promise 10)."""


class Submitter:
    def __init__(self, book: Book, preflight: Preflight) -> None:
        self._book = book
        self._preflight = preflight
        self._under_way: set[str] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def submit(self, context: Context) -> tuple[Entry, list[str]]:
        """The new job and what the user should know. A FluxgymError says what is wrong; then there is no job."""
        name = check_name(context.name)
        if self._book.has(name) or name in self._under_way:
            raise NameTaken(f"There is a job {name} already; choose another name, or remove it first.", name=name)
        folder = self._book.home.folder(name).path
        if folder.exists() or folder.is_symlink():
            raise _taken(folder, name)
        self._under_way.add(name)
        try:
            async with self._at_once:
                return await self._submit(settings.complete(context, self._book.home.path))
        finally:
            self._under_way.discard(name)

    async def _submit(self, context: Context) -> tuple[Entry, list[str]]:
        await self._preflight.check(context)
        job_id = secrets.token_hex(16)
        failpoint("submit.checked")
        built = await self._book.disk(lambda: self._book.home.new_folder(job_id))
        try:
            failpoint("submit.folder_made")
            snapshot = Snapshot()
            if context.kind is not Kind.PROGRAM:
                snapshot = await take_snapshot(Path(str(context.dataset)), built / "dataset")
            failpoint("submit.dataset_copied")
            await self._book.disk(lambda: _write(built, context, job_id))
            failpoint("submit.files_written")
            folder, found = await self._book.disk(lambda: _publish(self._book.home, built, context.name))
            failpoint("submit.published")
        except Exception:
            # Not where this task is cancelled: a thread may be publishing the folder at that moment. What a daemon
            # leaves half-made when it leaves is deleted at the next start.
            await lanes.run(context.name, shutil.rmtree, built, ignore_errors=True)
            raise
        return self._book.add(folder, found), _warnings(snapshot, context)


async def take_snapshot(source: Path, target: Path) -> Snapshot:
    """Runs fluxgymd.datasets.snapshot as a program of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fluxgymd.datasets.snapshot",
        source,
        target,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    try:
        snapshot = msgspec.json.decode(output, type=Snapshot)
    except msgspec.MsgspecError:
        raise InvalidDataset(
            f"The dataset {source} could not be read: the program that opens its pictures died "
            f"(status {process.returncode}).",
            path=str(source),
        ) from None
    if snapshot.problem is not None:
        if snapshot.storage:
            raise StorageFailed(snapshot.problem)
        raise InvalidDataset(snapshot.problem, path=snapshot.path or str(source))
    return snapshot


def _write(built: Path, context: Context, job_id: str) -> None:
    """Everything but the dataset, each file durable; the journal last."""
    folder = JobFolder(built)
    final = built.parent / context.name
    now = time.time()
    if context.kind is not Kind.PROGRAM:
        write_file(folder.dataset_config, kohya.dataset_config(context, final / folder.dataset.name))
        write_file(folder.sample_prompts, kohya.sample_prompts(context))
    event = events.Submitted(at=now, id=job_id, context=context, priority=context.priority or 0, rank=now)
    write_file(built / JOURNAL, events.encode(event))


def _publish(home: Home, built: Path, name: str) -> tuple[JobFolder, Read]:
    """The job's folder, and what its journal tells there."""
    try:
        folder = home.publish(built, name)
    except FileExistsError:
        raise _taken(home.folder(name).path, name) from None
    return folder, reading.read(folder)


def _taken(folder: Path, name: str) -> NameTaken:
    return NameTaken(f"{folder} is there and is no job; move it away, or choose another name.", name=name)


def _warnings(snapshot: Snapshot, context: Context) -> list[str]:
    if not snapshot.without_caption:
        return []
    what = f"the trigger word {context.trigger_word!r}" if context.trigger_word else "an empty caption"
    return [f"{snapshot.without_caption} of {snapshot.pictures} pictures have no caption; {what} is used for them."]
