# SPDX-License-Identifier: Apache-2.0
"""A submit: checks everything that can be checked, builds the job's folder, and publishes it durably.

The answer is sent after the rename is on the disk (promise 3). Whatever fails before leaves nothing behind.
"""

import asyncio
import os
import secrets
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.errors import FileMissing, InvalidDataset, InvalidSetting, NameTaken, NotEnoughSpace, StorageFailed
from fluxgym.messages import Context, Model
from fluxgym.names import check_name
from fluxgymd.core import events
from fluxgymd.datasets.snapshot import Snapshot
from fluxgymd.engine.book import Book, Entry
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JOURNAL, JobFolder
from fluxgymd.store.safetensors_header import NotSafetensors
from fluxgymd.trainers import kohya, settings
from fluxgymd.trainers.flags import KnownFlags
from fluxgymd.trainers.planned_size import planned_bytes

MODEL_TITLES = {
    "transformer": "the Flux transformer",
    "clip_l": "CLIP-L",
    "t5xxl": "T5-XXL",
    "autoencoder": "the autoencoder",
}


class Submitter:
    def __init__(self, book: Book, flags: KnownFlags) -> None:
        self._book = book
        self._flags = flags
        self._under_way: set[str] = set()

    async def submit(self, context: Context) -> tuple[Entry, list[str]]:
        """The new job and what the user should know. A FluxgymError says what is wrong; then there is no job."""
        name = check_name(context.name)
        if self._book.has(name) or name in self._under_way:
            raise NameTaken(f"There is a job {name} already; choose another name, or remove it first.", name=name)
        folder = self._book.home.folder(name).path
        if folder.exists() or folder.is_symlink():
            raise NameTaken(f"{folder} is there and is no job; move it away, or choose another name.", name=name)
        self._under_way.add(name)
        try:
            return await self._submit(settings.complete(context, self._book.home.path))
        finally:
            self._under_way.discard(name)

    async def _submit(self, context: Context) -> tuple[Entry, list[str]]:
        kohya.check_options(context.trainer_options or {})
        await self._flags.check(context.trainer_options or {})
        await asyncio.to_thread(_check_space, context, self._book.home.path)
        job_id = secrets.token_hex(16)
        failpoint("submit.checked")
        built = await self._book.disk(lambda: self._book.home.new_folder(job_id))
        try:
            failpoint("submit.folder_made")
            snapshot = await _snapshot(Path(str(context.dataset)), built / "dataset")
            failpoint("submit.dataset_copied")
            await self._book.disk(lambda: _write(built, context, job_id))
            failpoint("submit.files_written")
            folder = await self._book.disk(lambda: self._book.home.publish(built, context.name))
            failpoint("submit.published")
        except FileExistsError:
            raise NameTaken(f"There is a job {context.name} already.", name=context.name) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, built, ignore_errors=True)
        return self._book.add(folder), _warnings(snapshot, context)


def _check_space(context: Context, home: Path) -> None:
    """Every model file is there and whole, and the planned states fit on the disk. Blocks."""
    model = context.model or Model()
    for field, title in MODEL_TITLES.items():
        path = Path(str(getattr(model, field)))
        if not path.is_file():
            raise FileMissing(
                f"{title} is missing: there is no file {path}; give its path as model.{field}.",
                path=str(path),
            )
    if model.tokenizers is not None and not Path(model.tokenizers).is_dir():
        raise FileMissing(f"There is no folder of tokenizers at {model.tokenizers}.", path=model.tokenizers)
    try:
        required = planned_bytes(context) + _dataset_bytes(Path(str(context.dataset)))
    except NotSafetensors as error:
        raise InvalidSetting(f"A model file cannot be used: {error}.", setting="model") from None
    except OSError as error:
        raise InvalidSetting(f"{error.filename} cannot be read: {error.strerror}.", setting="model") from None
    available = shutil.disk_usage(home).free
    if required > available:
        raise NotEnoughSpace(
            f"The training needs about {_size(required)} for its states, but the disk of {home} has "
            f"{_size(available)} free; free some, or save less often.",
            path=str(home),
            required=required,
            available=available,
        )


def _dataset_bytes(dataset: Path) -> int:
    with suppress(OSError), os.scandir(dataset) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())
    return 0


async def _snapshot(source: Path, target: Path) -> Snapshot:
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
    write_file(folder.dataset_config, kohya.dataset_config(context, final / folder.dataset.name))
    write_file(folder.sample_prompts, kohya.sample_prompts(context))
    event = events.Submitted(at=now, id=job_id, context=context, rank=now)
    write_file(built / JOURNAL, events.encode(event))


def _warnings(snapshot: Snapshot, context: Context) -> list[str]:
    if not snapshot.without_caption:
        return []
    what = f"the trigger word {context.trigger_word!r}" if context.trigger_word else "an empty caption"
    return [f"{snapshot.without_caption} of {snapshot.pictures} pictures have no caption; {what} is used for them."]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
