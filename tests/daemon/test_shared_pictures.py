# SPDX-License-Identifier: Apache-2.0
"""Jobs submitted with the same folder store its pictures once, with a real daemon and the real trainer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from fluxgym.errors import StorageFailed
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import Context, Part, State
from fluxgymctl.prose import plan_page
from fluxgymd.store.home import Home
from tests.daemon.running import RunningDaemon, context, tensors
from tests.harness.waiting import until

SD_SCRIPTS = Path(__file__).parent / "sd_scripts"


@pytest.fixture
def pictures(folder: Path, model: Path) -> Path:
    return Path(shutil.copytree(model / "pictures", folder / "pictures"))


def test_jobs_with_the_same_folder_store_its_pictures_once(
    daemon: RunningDaemon, model: Path, pictures: Path
) -> None:
    def job(name: str, **changes: object) -> Context:
        return context(name, model, **{"dataset": str(pictures), "repeats": 1, "epochs": 1} | changes)

    size = sum(file.stat().st_size for file in pictures.glob("*.png"))
    assert planned(daemon, job("first")) == size
    daemon.submit(job("first"))
    assert planned(daemon, job("second")) == 0
    daemon.submit(job("second"))
    (pictures / "more").mkdir()
    more = shutil.move(min(pictures.glob("*.png")), pictures / "more")
    parts = [Part(dataset=str(pictures)), Part(dataset=str(pictures / "more"))]
    daemon.submit(job("parts", dataset=None, parts=parts, held=True))
    for path in kept(daemon):
        assert path.stat().st_nlink == 4, "each of the three jobs has a link"
    assert len(kept(daemon)) == 8
    for file in (more, *pictures.glob("*.png")):
        Path(file).write_bytes(b"edited")
    for name in ("first", "second"):
        daemon.wait(name, State.COMPLETED)
    first, second = (tensors(daemon.folder(name) / f"{name}.safetensors") for name in ("first", "second"))
    assert first == second
    daemon.remove("first")
    daemon.remove("second")
    assert len(kept(daemon)) == 8
    assert len(list((daemon.folder("parts") / "dataset").rglob("*.png"))) == 8
    daemon.remove("parts")
    assert list((daemon.home / "outputs").iterdir()) == []


def test_a_job_in_the_trash_keeps_its_pictures_until_it_is_deleted(
    daemon: RunningDaemon, model: Path, pictures: Path
) -> None:
    daemon.submit(context("my-lora", model, dataset=str(pictures), held=True))
    daemon.call(m.STOP, m.StopParameters(name="my-lora"))
    daemon.call(m.REMOVE, m.RemoveParameters(name="my-lora"))
    assert {path.stat().st_nlink for path in kept(daemon)} == {2}
    daemon.call(m.REMOVE, m.RemoveParameters(name="my-lora", now=True))
    assert kept(daemon) == []


def test_a_job_like_another_whose_folder_is_gone_and_its_export(
    daemon: RunningDaemon, folder: Path, model: Path, pictures: Path
) -> None:
    """The clone has links. An export belongs to the user, and has none."""
    daemon.submit(context("first", model, dataset=str(pictures), held=True))
    shutil.rmtree(pictures)
    like = m.ComposeParameters(job=Context(name="second", held=True), like="first")
    daemon.submit(daemon.call(m.COMPOSE, like).job)
    daemon.call(m.EXPORT, m.ExportParameters(name="second", folder=str(folder / "exported")))
    assert {path.stat().st_nlink for path in kept(daemon)} == {3}
    exported = list((folder / "exported/dataset").glob("*.png"))
    assert len(exported) == 8
    assert {path.stat().st_nlink for path in exported} == {1}
    exported[0].write_bytes(b"edited")


def test_a_submit_that_fails_leaves_no_picture(folder: Path, model: Path, pictures: Path) -> None:
    env = {"FLUXGYM_FAILPOINTS": "publish.checked=error:EIO"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        with pytest.raises(StorageFailed):
            daemon.submit(context("my-lora", model, dataset=str(pictures)))
        assert list((daemon.home / "outputs").iterdir()) == []


def test_a_start_deletes_the_pictures_of_jobs_whose_folders_were_deleted(
    daemon: RunningDaemon, model: Path, pictures: Path
) -> None:
    daemon.submit(context("my-lora", model, dataset=str(pictures), held=True))
    daemon.kill()
    shutil.rmtree(daemon.folder("my-lora"))
    assert len(kept(daemon)) == 8
    daemon.start()
    until(lambda: not kept(daemon), what="the pictures to be deleted")


def test_kohyas_trainer_gets_copies(folder: Path, model: Path, pictures: Path) -> None:
    env = {"FLUXGYM_TRAINER_PATH": str(SD_SCRIPTS), "FLUXGYM_TRAINER_PYTHON": sys.executable}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        daemon.submit(context("my-lora", model, dataset=str(pictures), held=True))
        assert {path.stat().st_nlink for path in (daemon.folder("my-lora") / "dataset").iterdir()} == {1}
        assert kept(daemon) == []


def kept(daemon: RunningDaemon) -> list[Path]:
    return list(Home(daemon.home).shared_pictures.rglob("*.png"))


def planned(daemon: RunningDaemon, job: Context) -> int:
    """The bytes of pictures according to the plan."""
    with Connection(daemon.socket) as connection:
        disk = plan_page.gathered(connection.stream(m.PLAN, m.SubmitParameters(job=job))).plan.disk
    assert disk is not None
    return disk.pictures
