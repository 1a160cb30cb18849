# SPDX-License-Identifier: Apache-2.0
"""A job's folder is deleted or becomes unreadable while the job runs. The job can still be stopped, and its GPU is
not given to another job while any of its processes runs."""

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from fluxgym.errors import NoSuchJob, WrongState
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State, WaitingFor
from tests.daemon.running import RunningDaemon, context
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.waiting import until

# A trainer that never writes, so it does not notice that its folder is gone.
TRAINER = """
import sys, time
if "--help" in sys.argv:
    sys.exit("--network_alpha --network_train_unet_only --mixed_precision --gradient_checkpointing "
             "--cache_text_encoder_outputs")
while True:
    time.sleep(60)
"""


@pytest.fixture
def daemon(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunningDaemon:
    """A daemon with one GPU, not started yet."""
    nvml = Nvml(build(tmp_path_factory.mktemp("nvml")), folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"))
    trainer = folder / "trainer"
    trainer.mkdir()
    (trainer / "flux_train_network.py").write_text(TRAINER)
    env = {"FLUXGYM_TRAINER_PATH": str(trainer), "FLUXGYM_STOP_LIMIT_SECONDS": "1", **nvml.environment}
    return RunningDaemon(folder, env=env, arguments=("--supervisor", "process"))


def run(daemon: RunningDaemon, name: str, model: Path) -> int:
    """Runs a job and returns its trainer's pid."""
    daemon.submit(context(name, model, trainer_options={}))
    attempt = daemon.wait(name, State.RUNNING).runtime.attempt
    assert attempt is not None
    assert attempt.gpus == ["GPU-aaaa"]
    assert attempt.pid is not None
    return attempt.pid


def delete(folder: Path) -> None:
    """Deletes the folder in one step: during a gradual deletion the daemon might still write to it."""
    shutil.rmtree(folder.rename(folder.parents[1] / "on-its-way"))


def is_gone(daemon: RunningDaemon, name: str) -> bool:
    try:
        daemon.job(name)
    except NoSuchJob:
        return True
    return False


def test_promise_4_a_job_whose_folder_was_deleted_can_be_stopped_and_frees_its_gpu(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "deleted", model)
        delete(daemon.folder("deleted"))
        daemon.submit(context("next", model, trainer_options={}))
        until(lambda: daemon.job("next").runtime.waiting_for is WaitingFor.GPU, what="the next job to wait")
        daemon.call(m.STOP, m.StopParameters(name="deleted"))
        until(lambda: is_gone(daemon, "deleted"), what="the job to be no more")
        assert not psutil.pid_exists(trainer)
        assert not daemon.folder("deleted").exists()
        daemon.wait("next", State.RUNNING)


def test_a_waiting_job_whose_folder_was_deleted_can_be_stopped(daemon: RunningDaemon, model: Path) -> None:
    with daemon:
        run(daemon, "first", model)
        daemon.submit(context("deleted", model, trainer_options={}))
        delete(daemon.folder("deleted"))
        daemon.call(m.STOP, m.StopParameters(name="deleted"))
        assert is_gone(daemon, "deleted")


def test_promise_4_what_still_runs_of_a_job_that_was_deleted_keeps_its_gpu(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "deleted", model)
        daemon.kill()
        delete(daemon.folder("deleted"))
        (other_name := daemon.home.with_name("link")).symlink_to(daemon.home)
        daemon.home = other_name
        daemon.start()
        daemon.submit(context("next", model, trainer_options={}))
        until(lambda: daemon.job("next").runtime.waiting_for is WaitingFor.GPU, what="the next job to wait")
        told = [sentence for sentence in daemon.info().degraded if "deleted" in sentence]
        assert any(f"{trainer} are still running on GPU GPU-aaaa" in sentence for sentence in told), told
        os.kill(trainer, signal.SIGKILL)
        daemon.wait("next", State.RUNNING)
        assert not [sentence for sentence in daemon.info().degraded if "deleted" in sentence]


def recreate(daemon: RunningDaemon, name: str) -> Path:
    """Deletes the job's folder and recreates it, as a trainer does when it saves a checkpoint after the deletion."""
    folder = daemon.folder(name)
    delete(folder)
    (folder / f"{name}-000004-state").mkdir(parents=True)
    (folder / f"{name}-000004.safetensors").touch()
    return folder


def test_promise_4_a_job_can_be_stopped_although_its_trainer_has_recreated_the_folder(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "deleted", model)
        folder = recreate(daemon, "deleted")
        daemon.submit(context("next", model, trainer_options={}))
        daemon.call(m.STOP, m.StopParameters(name="deleted"))
        until(lambda: is_gone(daemon, "deleted"), what="the job to be no more")
        assert not psutil.pid_exists(trainer)
        daemon.wait("next", State.RUNNING)
        assert (folder / "deleted-000004-state").exists(), "what was written after that is nobody's to delete"


def test_promise_6_a_job_that_was_deleted_is_stopped_by_its_name(daemon: RunningDaemon, model: Path) -> None:
    with daemon:
        trainer = run(daemon, "deleted", model)
        temporary = Path(psutil.Process(trainer).environ()["TMPDIR"])
        daemon.kill()
        delete(daemon.folder("deleted"))
        daemon.start()
        daemon.submit(context("next", model, trainer_options={}))
        until(lambda: daemon.info().degraded, what="the daemon to say what runs")
        assert "`fluxgymctl stop deleted` stops the job." in daemon.info().degraded[0]
        assert temporary.exists()
        stopped = daemon.call(m.STOP, m.StopParameters(name="deleted")).job
        assert (stopped.context.name, stopped.runtime.state) == ("deleted", State.STOPPING)
        daemon.wait("next", State.RUNNING)
        assert not psutil.pid_exists(trainer)
        assert not temporary.exists()
        with pytest.raises(NoSuchJob):
            daemon.call(m.STOP, m.StopParameters(name="deleted"))


def test_promise_6_a_deleted_job_that_looks_like_an_older_training_is_stopped_before_it_is_removed(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "deleted", model)
        daemon.kill()
        folder = recreate(daemon, "deleted")
        daemon.start()
        assert daemon.job("deleted").runtime.state is State.STOPPED, "it was taken in as an older training"
        with pytest.raises(WrongState, match="some of its processes are still running; stop it first"):
            daemon.call(m.REMOVE, m.JobName(name="deleted"))
        daemon.call(m.STOP, m.StopParameters(name="deleted"))
        until(lambda: not psutil.pid_exists(trainer), what="the trainer to be gone")
        until(lambda: not daemon.info().degraded, what="the daemon to see that")
        daemon.call(m.REMOVE, m.JobName(name="deleted"))
        assert not folder.exists()


def test_promise_4_a_job_whose_records_cannot_be_read_can_be_stopped_and_keeps_its_gpu_until_they_can(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "my-lora", model)
        records = daemon.folder("my-lora") / "attempts" / "001"
        away = records.rename(records.with_name("away"))
        records.symlink_to(records)  # ELOOP, standing in for any error of the volume
        daemon.wait("my-lora", State.LOST)
        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        until(lambda: not psutil.pid_exists(trainer), what="the trainer to be gone")
        assert daemon.job("my-lora").runtime.state is State.LOST
        assert [one.job for one in daemon.call(mm.GPUS, m.Nothing()).gpus] == ["my-lora"]
        records.unlink()
        away.rename(records)
        daemon.wait("my-lora", State.STOPPED)
