# SPDX-License-Identifier: Apache-2.0
"""Makes a job of an older training (fluxgymd/importing), when the user resumes or edits it for the first time.

What a submit checks is checked, its pictures are copied into its folder, and what the job will write over is kept
under `before-import/`. The journal comes last and whole, with the user's event in it: until then the folder is an
older training, with every file as it was. Whatever fails leaves nothing behind; what a crash left is cleared by the
next try, which knows it by `.adopting/`.
"""

import asyncio
import re
import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from fluxgym.errors import InvalidSetting, WrongState
from fluxgym.messages import Context
from fluxgymd import lanes
from fluxgymd.core.events import AnyEvent
from fluxgymd.core.job import Job
from fluxgymd.core.resume import CheckpointFacts, GoOn, Impossible, choose, progress
from fluxgymd.datasets.snapshot import copy
from fluxgymd.engine import resuming
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.preflight import Preflight
from fluxgymd.engine.submit import take_snapshot
from fluxgymd.engine.view import wire_state
from fluxgymd.failpoints import failpoint
from fluxgymd.importing import folder as older_folder
from fluxgymd.importing import running
from fluxgymd.store.atomic import sync_folder
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya, settings

STAGING = ".adopting"
"""Its presence says that `MADE` beside it is ours, and not finished."""
KEPT = "before-import"
MADE = ("dataset", KEPT)


class Takeover:
    def __init__(self, book: Book, preflight: Preflight, trainer_path: Path) -> None:
        self._book = book
        self._preflight = preflight
        self._trainer_path = trainer_path
        self._under_way: set[str] = set()
        # Who died as the last thing that it did has left a job with a name in it that is of no use any more.
        for entry in book.open():
            if entry.damage is None:  # or its volume may hang
                _leave(entry.folder)

    async def record(
        self,
        entry: Entry,
        decide: Callable[[Job], AnyEvent],
        *,
        wanted: Context | None = None,
        given: AbstractSet[str] = frozenset(),
    ) -> None:
        """Records the event that `decide` makes of the job; of an older training it makes a job first.

        `wanted`: the settings that it will be trained with, if not those that it has; `given`: which of them the user
        gave. A FluxgymError says why not; then nothing has changed.
        """
        if entry.older is None:
            await lanes.run(entry.name, _leave, entry.folder)
            await self._book.decide(entry, decide)
            return
        assert entry.job is not None
        decide(entry.job)  # what cannot be is refused before anything is copied
        if entry.name in self._under_way:
            raise _refusal(entry, "it is being resumed or edited already")
        self._under_way.add(entry.name)
        work = self._take_over(entry, decide, wanted or entry.job.context, given)
        # A caller that is cancelled half-way leaves a job, or an older training, and never something between.
        await asyncio.shield(asyncio.create_task(work, name=f"takeover-{entry.name}"))

    async def _take_over(
        self, entry: Entry, decide: Callable[[Job], AnyEvent], wanted: Context, given: AbstractSet[str]
    ) -> None:
        folder = entry.folder
        try:
            self._refuse(entry, given)
            wanted = settings.complete(wanted, self._book.home.path)
            keep = await lanes.answer(str(folder.path), self._look, entry, wanted)
            await self._preflight.check(wanted)
            await self._book.disk(lambda: _stage(folder))
            failpoint("takeover.staged")
            try:
                await take_snapshot(Path(str(wanted.dataset)), folder.path / STAGING / "dataset")
                failpoint("takeover.copied")
                await self._book.disk(lambda: _move_in(folder, keep))
                failpoint("takeover.moved_in")
                await self._book.decide(entry, decide)
            except BaseException:
                await lanes.run(folder.name, _clear, folder)
                raise
            entry.older = None
            failpoint("takeover.recorded")
            await lanes.run(folder.name, _leave, folder)
            failpoint("takeover.done")
        finally:
            self._under_way.discard(entry.name)

    def _refuse(self, entry: Entry, given: AbstractSet[str]) -> None:
        assert entry.older is not None
        for obstacle in entry.older.obstacles:
            if obstacle.setting is None:
                raise _refusal(entry, obstacle.sentence)
            if obstacle.setting not in given:
                raise InvalidSetting(
                    f"The older training {entry.name}: {obstacle.sentence}; correct it with `fluxgymctl edit`.",
                    setting=obstacle.setting,
                )

    def _look(self, entry: Entry, wanted: Context) -> list[str]:
        """The names of the files and states that the job would write over. WrongState if it cannot go on. Blocks."""
        folder = entry.folder
        pid = running.working_on(folder.path)
        if pid is not None:
            raise _refusal(entry, f"the older program still works on it, as process {pid}; end that first")
        if not (folder.path / STAGING).exists():
            for name in MADE:
                if (folder.path / name).exists():
                    raise _refusal(entry, f"{folder.path / name} is in its way; move it elsewhere")
        states = resuming.scan(wanted, folder)
        where = choose(states, trainer=kohya.trainer_at(self._trainer_path), epochs=wanted.epochs or 0)
        if isinstance(where, Impossible):
            raise _refusal(entry, where.sentence[:1].lower() + where.sentence[1:].rstrip("."))
        return _overwritten(folder, states, where.checkpoint if isinstance(where, GoOn) else None)


def _overwritten(folder: JobFolder, states: list[CheckpointFacts], begin: CheckpointFacts | None) -> list[str]:
    """What lies beyond the place where the job goes on, and the files that each attempt writes."""
    views = [folder.settings, folder.dataset_config, folder.sample_prompts, folder.monitor_pid]
    names = [path.name for path in views if path.exists()]
    for name in older_folder.loras(folder.path, folder.name):
        found = re.search(r"-(\d{6})\.safetensors$", name)
        if found is None or begin is None or int(found[1]) > (begin.epoch or 0):
            names.append(name)
    beyond = (state.name for state in states if begin is None or progress(state) > progress(begin))
    return names + sorted(name for name in beyond if (folder.path / name).is_dir())


def _stage(folder: JobFolder) -> None:
    _clear(folder)
    (folder.path / STAGING).mkdir(mode=0o700)
    sync_folder(folder.path)


def _move_in(folder: JobFolder, keep: list[str]) -> None:
    """Copies what is to be kept, and gives what was built its names, durably."""
    kept = folder.path / STAGING / KEPT
    kept.mkdir(mode=0o700)
    for name in keep:
        _copy(folder.path / name, kept / name)
    failpoint("takeover.kept")
    for name in MADE:
        sync_folder(folder.path / STAGING / name)
        (folder.path / STAGING / name).rename(folder.path / name)
        failpoint("takeover.renamed")
    sync_folder(folder.path)


def _copy(source: Path, target: Path) -> None:
    """Durable, with the times of the original."""
    if source.is_dir():
        target.mkdir()
        for path in sorted(source.iterdir()):
            _copy(path, target / path.name)
        sync_folder(target)
    else:
        copy(source, target)
    shutil.copystat(source, target)


def _leave(folder: JobFolder) -> None:
    """Ends a try that did succeed: there is a journal, so what was made is the job's."""
    with suppress(OSError):
        (folder.path / STAGING).rmdir()


def _clear(folder: JobFolder) -> None:
    """Removes what a try that did not succeed has left."""
    staging = folder.path / STAGING
    if not staging.is_dir():
        return
    for name in MADE:
        if not (staging / name).exists():  # it was moved out
            shutil.rmtree(folder.path / name, ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)


def _refusal(entry: Entry, why: str) -> WrongState:
    assert entry.job is not None
    state = wire_state(entry.job.state)
    return WrongState(f"The older training {entry.name}: {why}.", name=entry.name, state=state)
