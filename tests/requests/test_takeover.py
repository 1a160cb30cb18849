# SPDX-License-Identifier: Apache-2.0
"""An older training becomes a job when it is resumed or edited, completely or not at all, and nothing of it is
lost."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fluxgym.errors import FileMissing, FluxgymError, InvalidDataset, InvalidSetting, StorageFailed, WrongState
from fluxgym.protocol.messages import Context
from fluxgymd.core.job import Completed, Job, Queued, Stopped
from fluxgymd.core.journal import events as e
from fluxgymd.gpus.machine import Gpus
from fluxgymd.importing.script import flags
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests import takeover as module
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.edit import merge
from fluxgymd.requests.takeover import KEPT, STAGING, Takeover
from fluxgymd.run import resuming
from fluxgymd.run.preflight import Preflight
from fluxgymd.store import journal
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.writer import Writer
from tests.harness.waiting import DEADLINE_SECONDS
from tests.requests.older_home import home, nothing_is_lost, sd_scripts, tree
from tests.trainers.adapters import NOWHERE, trainers

__all__ = ["home", "sd_scripts"]


class Daemon:
    """The parts of the daemon that take over a training."""

    def __init__(self, home: Path, trainer: Path) -> None:
        self.registry = Registry(Home(home), Writer())
        self.registry.load()
        known = trainers(trainer)
        self.takeover = Takeover(self.registry, Preflight(self.registry, known, Gpus()), known, Copier())

    def resume(self, name: str) -> None:
        asyncio.run(self.resuming(name))

    async def resuming(self, name: str) -> None:
        await self.takeover.record(self.registry.entry(name), ask)

    def edit(self, name: str, **changes: object) -> None:
        given = Context(name=name, **changes)  # type: ignore[arg-type] # as a caller gives them
        wanted = merge(self.job(name).context, given)
        work = self.takeover.record(
            self.registry.entry(name),
            lambda _: e.Edited(at=time.time(), context=wanted),
            wanted=wanted,
            given=changes.keys(),
        )
        asyncio.run(work)

    def job(self, name: str) -> Job:
        job = self.registry.entry(name).job
        assert job is not None
        return job


@pytest.fixture
def daemon(home: Path, sd_scripts: Path) -> Iterator[Daemon]:
    daemon = Daemon(home, sd_scripts)
    yield daemon
    daemon.registry.writer.close()


def ask(job: Job) -> e.AnyEvent:
    """Decides as Verbs.resume does."""
    if isinstance(job.state, Completed | Queued):
        raise WrongState("It is completed, or queued already.")
    return e.ResumeAsked(at=time.time())


def test_a_resumed_training_becomes_a_job(daemon: Daemon, home: Path) -> None:
    folder = home / "outputs" / "stopped"
    before, shown = tree(folder), daemon.job("stopped")
    daemon.resume("stopped")
    entry = daemon.registry.entry("stopped")
    assert entry.older is None
    assert isinstance(daemon.job("stopped").state, Queued)
    assert daemon.job("stopped").id == shown.id
    assert sorted(path.name for path in (folder / "dataset").iterdir()) == ["0.png", "0.txt", "1.png", "1.txt"]
    nothing_is_lost(before, folder)
    assert sorted(path.name for path in (folder / KEPT).iterdir()) == [
        "dataset.toml",
        "monitor.pid",
        "sample_prompts.txt",
        "ui_state.json",
    ]
    assert not (folder / STAGING).exists()
    kinds = [type(event) for event in journal.good_events(folder / "events.jsonl")]
    assert kinds == [e.Submitted, e.Imported, e.ResumeAsked]


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("name", ["stopped", "with-states"])
def test_its_states_fit_its_settings_and_either_trainer_continues_after_their_epoch(
    *, daemon: Daemon, home: Path, sd_scripts: Path, name: str, ours: bool
) -> None:
    daemon.resume(name)
    context, folder = daemon.job(name).context, JobFolder(home / "outputs" / name)
    trainer = trainers(NOWHERE if ours else sd_scripts).of(context)
    outlook = asyncio.run(resuming.look(trainer, context, folder, pictures=(folder.dataset,)))
    begin = resuming.prepare(trainer, context, folder, outlook)
    assert begin.resumed_from == f"{name}-000008-state", begin.where
    assert begin.step == 8 * 2 * 10  # two pictures, ten repeats
    assert (begin.set_aside, begin.notes) == ((), ())  # no old file is moved or deleted
    given = flags(trainer.argv(context, folder, resume=begin.resumed_from, gpus=1)[2:])
    assert given["resume"] == [str(folder.path / f"{name}-000008-state")]
    assert given["initial_epoch"] == ["9"]


def test_the_next_daemon_reads_the_same_job_from_its_journal(daemon: Daemon, home: Path, sd_scripts: Path) -> None:
    daemon.resume("stopped")
    asyncio.run(daemon.registry.record(daemon.registry.entry("stopped"), e.Cancelled(at=time.time())))
    again = Daemon(home, sd_scripts)
    assert again.registry.entry("stopped").older is None
    assert again.job("stopped") == daemon.job("stopped")
    assert isinstance(again.job("stopped").state, Stopped)
    again.registry.writer.close()


def test_files_that_the_training_will_write_again_are_kept_too(daemon: Daemon, home: Path) -> None:
    folder = home / "outputs" / "torn"
    before = tree(folder)
    daemon.resume("torn")  # from epoch 4, because the state of epoch 8 is broken
    nothing_is_lost(before, folder)
    kept = {path.name for path in (folder / KEPT).iterdir()}
    assert {"torn.safetensors", "torn-000008.safetensors", "torn-000008-state"} < kept
    assert not {"torn-000004.safetensors", "torn-000004-state"} & kept
    names = [path.name for path in (folder / "torn-000008-state").iterdir()]
    assert sorted(names) == sorted(path.name for path in (folder / KEPT / "torn-000008-state").iterdir())


def test_a_training_without_a_state_starts_over(daemon: Daemon, home: Path) -> None:
    daemon.resume("failed")
    assert isinstance(daemon.job("failed").state, Queued)
    assert (home / "outputs" / "failed" / "dataset" / "0.png").is_file()


def remove_pictures(home: Path) -> None:
    shutil.rmtree(home / "datasets" / "stopped")


def remove_model(home: Path) -> None:
    (home / "models" / "vae" / "ae.sft").unlink()


def put_in_the_way(home: Path) -> None:
    (home / "outputs" / "stopped" / "dataset").mkdir()


def tear_picture(home: Path) -> None:
    picture = home / "datasets" / "stopped" / "1.png"
    picture.write_bytes(picture.read_bytes()[:40])


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "spoil", "error", "says"),
    [
        ("finished", nothing, WrongState, "It is completed"),
        ("epochs-only", nothing, WrongState, "it saved no state, so it could only start over"),
        (
            "stopped",
            remove_pictures,
            InvalidDataset,
            "datasets/stopped does not exist; give the folder with the pictures",
        ),
        ("stopped", tear_picture, InvalidDataset, "1.png is damaged"),
        ("stopped", remove_model, FileMissing, "for the autoencoder does not exist"),
        ("stopped", put_in_the_way, WrongState, "outputs/stopped/dataset is in the way; move it elsewhere."),
    ],
)
def test_an_impossible_request_is_refused_and_nothing_is_changed(
    daemon: Daemon, home: Path, name: str, spoil: Callable[[Path], None], error: type[FluxgymError], says: str
) -> None:
    spoil(home)
    before = tree(home)
    names = sorted(path.name for path in (home / "outputs" / name).iterdir())
    shown = daemon.job(name)
    with pytest.raises(error, match=says):
        daemon.resume(name)
    assert tree(home) == before
    assert sorted(path.name for path in (home / "outputs" / name).iterdir()) == names
    assert daemon.job(name) == shown
    assert daemon.registry.entry(name).older is not None


def test_a_state_of_sd_scripts_without_a_step_is_refused(home: Path, tmp_path: Path) -> None:
    folder = home / "outputs" / "stopped"
    for epoch in (4, 8):
        (folder / f"stopped-{epoch:06d}-state").rename(folder / f"stopped-step{epoch * 20:08d}-state")
    daemon = Daemon(home, tmp_path)
    before = tree(home)
    with pytest.raises(WrongState, match=r"It cannot resume from stopped-step00000160-state"):
        daemon.resume("stopped")
    assert tree(home) == before
    daemon.registry.writer.close()


def test_a_training_that_still_runs_in_the_older_program_is_left_alone(daemon: Daemon, home: Path) -> None:
    code, pipe = "print(flush=True); input()", subprocess.PIPE
    command = [sys.executable, "-c", code, "--output-dir", str(home / "outputs" / "stopped"), "--auto-resume"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as monitor:
        assert monitor.stdout is not None
        monitor.stdout.readline()
        with pytest.raises(WrongState, match=f"the older program is still working on it as process {monitor.pid}"):
            daemon.resume("stopped")
        monitor.communicate(b"\n", timeout=DEADLINE_SECONDS)
    daemon.resume("stopped")


def test_an_edit_removes_an_obstacle(home: Path, sd_scripts: Path) -> None:
    script = home / "outputs" / "stopped" / "train.sh"
    script.write_text(script.read_text().replace("--max_train_epochs 16", "--max_train_steps 900"))
    daemon = Daemon(home, sd_scripts)
    with pytest.raises(InvalidSetting, match="does not set the number of epochs"):
        daemon.resume("stopped")
    with pytest.raises(InvalidSetting, match="does not set the number of epochs"):
        daemon.edit("stopped", seed=1)
    daemon.edit("stopped", epochs=16)
    job = daemon.job("stopped")
    assert isinstance(job.state, Stopped)
    assert (job.context.epochs, job.context.seed) == (16, 42)
    kinds = [type(event) for event in journal.good_events(home / "outputs" / "stopped" / "events.jsonl")]
    assert kinds == [e.Submitted, e.Imported, e.Edited]
    daemon.registry.writer.close()


def test_an_edit_gives_the_present_place_of_the_pictures(daemon: Daemon, home: Path) -> None:
    (home / "datasets" / "stopped").rename(home / "elsewhere")
    daemon.edit("stopped", dataset=str(home / "elsewhere"))
    assert (home / "outputs" / "stopped" / "dataset" / "1.png").is_file()
    assert daemon.job("stopped").context.dataset == str(home / "elsewhere")


def breaking(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Makes the `number`-th rename of a takeover fail."""
    real, done = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        done.append(self)
        if len(done) == number:
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)


RENAMES = 3
"""Of the pictures, of the files that are kept, and of the journal."""


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_disk_that_refuses_leaves_nothing(
    daemon: Daemon, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = home / "outputs" / "stopped"
    before = tree(folder)
    names = sorted(folder.iterdir())
    with monkeypatch.context() as patch:
        breaking(patch, number, OSError(28, "No space left on device"))
        with pytest.raises(StorageFailed):
            daemon.resume("stopped")
    assert tree(folder) == before
    assert sorted(folder.iterdir()) == names
    daemon.resume("stopped")
    nothing_is_lost(before, folder)


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_after_a_crash_it_is_still_an_older_training_and_can_be_resumed(
    home: Path, sd_scripts: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = home / "outputs" / "stopped"
    before = tree(folder)
    crashed = Daemon(home, sd_scripts)
    with monkeypatch.context() as patch:
        breaking(patch, number, OSError(5, "the power goes"))
        patch.setattr(module, "_clear", lambda _: None)  # the crashed daemon cannot do it
        with pytest.raises(StorageFailed):
            crashed.resume("stopped")
    crashed.registry.writer.close()
    again = Daemon(home, sd_scripts)
    assert isinstance(again.job("stopped").state, Stopped)
    again.resume("stopped")
    assert isinstance(again.job("stopped").state, Queued)
    nothing_is_lost(before, folder)
    assert not (folder / STAGING).exists()
    assert (folder / "dataset" / "1.png").is_file()
    again.registry.writer.close()


def test_of_two_simultaneous_resumes_one_succeeds(daemon: Daemon) -> None:
    async def both() -> list[object]:
        return await asyncio.gather(*(daemon.resuming("stopped") for _ in range(2)), return_exceptions=True)

    first, second = asyncio.run(both())
    assert first is None
    assert isinstance(second, WrongState)
    assert isinstance(daemon.job("stopped").state, Queued)


def test_a_client_that_disconnects_meanwhile_leaves_a_job_behind(daemon: Daemon) -> None:
    async def impatient() -> None:
        task = asyncio.create_task(daemon.resuming("stopped"))
        await asyncio.sleep(0)
        work = next(task for task in asyncio.all_tasks() if task.get_name() == "takeover-stopped")
        task.cancel()
        await work
        assert task.cancelled()

    asyncio.run(impatient())
    assert isinstance(daemon.job("stopped").state, Queued)
