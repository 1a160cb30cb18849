# SPDX-License-Identifier: Apache-2.0
"""Turns an older training (fluxgymd/importing) into a job when the user resumes or edits it for the first time.

It is checked like a submit, its pictures are copied into its folder, and what the job will overwrite is kept under
`before-import/`. The journal is written last and in one piece, including the user's event: until then the folder is
an older training, with every file as it was. A takeover that fails leaves nothing behind. After a crash, the next
takeover recognizes what was left by `.adopting/`, and deletes it.
"""

import asyncio
import re
import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from fluxgym.errors import InvalidSetting, WrongState
from fluxgym.protocol.messages import Context
from fluxgymd.background import lanes
from fluxgymd.core.job import Job
from fluxgymd.core.journal.events import AnyEvent
from fluxgymd.core.resume import CheckpointFacts, GoOn, progress
from fluxgymd.failpoints import failpoint
from fluxgymd.importing import folder as older_folder
from fluxgymd.importing import running
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.states import wire_state
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.sources import refuse_name
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.resuming import Outlook
from fluxgymd.snapshots.snapshot import copy
from fluxgymd.store.atomic import sync_folder
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.choice import Trainers

STAGING = ".adopting"
"""While it exists, the folders `MADE` beside it belong to a takeover that is not finished."""
KEPT = "before-import"
MADE = ("dataset", KEPT)


class Takeover:
    def __init__(self, registry: Registry, preflight: Preflight, trainers: Trainers, copier: Copier) -> None:
        self._registry = registry
        self._copier = copier
        self._preflight = preflight
        self._trainers = trainers
        self._under_way: set[str] = set()
        # A daemon that died right after it recorded a takeover may have left an empty STAGING folder in the job.
        for entry in registry.open():
            if entry.damage is None:  # else its volume may hang
                _leave(entry.folder)

    async def record(
        self,
        entry: Entry,
        decide: Callable[[Job], AnyEvent],
        *,
        wanted: Context | None = None,
        given: AbstractSet[str] = frozenset(),
    ) -> list[str]:
        """Records the event that `decide` makes from the job; turns an older training into a job first. Returns
        warnings for the job's owner.

        `wanted`: the settings to train with, if they differ from the job's; `given`: which of them the user gave. A
        FluxgymError says why it is refused; then nothing has changed.
        """
        if entry.older is None:
            await lanes.run(entry.name, _leave, entry.folder)
            await self._registry.decide(entry, decide)
            return []
        decide(entry.known)  # refuses what is impossible before anything is copied
        if entry.name in self._under_way:
            raise _refusal(entry, "it is already being resumed or edited")
        self._under_way.add(entry.name)
        work = self._take_over(entry, decide, wanted or entry.known.context, given)
        # Even if the caller is cancelled halfway, a job or an older training results, and nothing in between.
        return await asyncio.shield(asyncio.create_task(work, name=f"takeover-{entry.name}"))

    async def _take_over(
        self, entry: Entry, decide: Callable[[Job], AnyEvent], wanted: Context, given: AbstractSet[str]
    ) -> list[str]:
        folder = entry.folder
        try:
            self._refuse(entry, given)
            refuse_name(wanted)
            wanted = self._trainers.of(wanted).complete(wanted, self._registry.home.path, new=False)
            await lanes.answer(str(folder.path), _look, entry)
            source, trainer = Path(str(wanted.dataset)), self._trainers.of(wanted)
            shared = self._registry.home.shared_pictures if trainer.only_reads_pictures else None
            outlook = await self._preflight.check(wanted, folder, pictures=(source,))
            keep = await lanes.answer(str(folder.path), _overwritten, folder, outlook)
            await self._registry.disk(lambda: _stage(folder))
            failpoint("takeover.staged")
            try:
                target, captions = folder.path / STAGING / "dataset", trainer.captions(wanted)
                await self._copier.copy(source, target, captions, shared=shared)
                failpoint("takeover.copied")
                await self._registry.disk(lambda: _move_in(folder, keep))
                failpoint("takeover.moved_in")
                await self._registry.decide(entry, decide)
            except BaseException:
                await lanes.run(folder.name, _clear, folder)
                await self._registry.sweep_pictures()
                raise
            entry.older = None
            failpoint("takeover.recorded")
            await lanes.run(folder.name, _leave, folder)
            failpoint("takeover.done")
            return [warning.sentence for warning in outlook.report.warnings]
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


def _look(entry: Entry) -> None:
    """WrongState if the older program still works on it, or a name of `MADE` is taken. Blocks."""
    folder = entry.folder
    pid = running.working_on(folder.path)
    if pid is not None:
        raise _refusal(entry, f"the older program is still working on it as process {pid}; end that process first")
    if not (folder.path / STAGING).exists():
        for name in MADE:
            if (folder.path / name).exists():
                raise _refusal(entry, f"{folder.path / name} is in the way; move it elsewhere")


def _overwritten(folder: JobFolder, outlook: Outlook) -> list[str]:
    """What the job will overwrite, by name: files that each attempt writes, and what is newer than its checkpoint."""
    begin: CheckpointFacts | None = outlook.where.checkpoint if isinstance(outlook.where, GoOn) else None
    views = [folder.settings, folder.dataset_config, folder.sample_prompts, folder.monitor_pid]
    names = [path.name for path in views if path.exists()]
    for name in older_folder.loras(folder.path, folder.name):
        found = re.search(r"-(\d{6})\.safetensors$", name)
        if found is None or begin is None or int(found[1]) > (begin.epoch or 0):
            names.append(name)
    beyond = (state.name for state in outlook.found if begin is None or progress(state) > progress(begin))
    return names + sorted(name for name in beyond if (folder.path / name).is_dir())


def _stage(folder: JobFolder) -> None:
    _clear(folder)
    (folder.path / STAGING).mkdir(mode=0o700)
    sync_folder(folder.path)


def _move_in(folder: JobFolder, keep: list[str]) -> None:
    """Copies the files to keep, and moves the staged folders to their places, durably."""
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
    """Copies a file or folder durably, with the times of the original."""
    if source.is_dir():
        target.mkdir()
        for path in sorted(source.iterdir()):
            _copy(path, target / path.name)
        sync_folder(target)
    else:
        copy(source, target)
    shutil.copystat(source, target)


def _leave(folder: JobFolder) -> None:
    """Ends a takeover that succeeded: there is a journal, so what was made belongs to the job."""
    with suppress(OSError):
        (folder.path / STAGING).rmdir()


def _clear(folder: JobFolder) -> None:
    """Deletes what a takeover that did not succeed has left."""
    staging = folder.path / STAGING
    if not staging.is_dir():
        return
    for name in MADE:
        if not (staging / name).exists():  # it was moved to its place
            shutil.rmtree(folder.path / name, ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)


def _refusal(entry: Entry, why: str) -> WrongState:
    state = wire_state(entry.known.state)
    return WrongState(f"The older training {entry.name}: {why}.", name=entry.name, state=state)
