# SPDX-License-Identifier: Apache-2.0
"""A job's folder is deleted, or cannot be read, while it runs: it can be stopped all the same, and its GPU is given
to nobody else while anything of it runs."""

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from fluxgym import methods as m
from fluxgym.errors import NoSuchJob
from fluxgym.messages import State, WaitingFor
from tests.daemon.running import RunningDaemon, context
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.waiting import until

# A trainer that never writes, so that it does not notice.
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
    """With one GPU. Not started yet."""
    nvml = Nvml(build(tmp_path_factory.mktemp("nvml")), folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"))
    trainer = folder / "trainer"
    trainer.mkdir()
    (trainer / "flux_train_network.py").write_text(TRAINER)
    env = {"FLUXGYM_TRAINER_PATH": str(trainer), "FLUXGYM_STOP_LIMIT_SECONDS": "1", **nvml.environment}
    return RunningDaemon(folder, env=env, arguments=("--supervisor", "process"))


def run(daemon: RunningDaemon, name: str, model: Path) -> int:
    """The trainer's pid."""
    daemon.submit(context(name, model, trainer_options={}))
    attempt = daemon.wait(name, State.RUNNING).runtime.attempt
    assert attempt is not None
    assert attempt.gpus == ["GPU-aaaa"]
    assert attempt.pid is not None
    return attempt.pid


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
        shutil.rmtree(daemon.folder("deleted"))
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
        shutil.rmtree(daemon.folder("deleted"))
        daemon.call(m.STOP, m.StopParameters(name="deleted"))
        assert is_gone(daemon, "deleted")


def test_promise_4_what_runs_of_a_job_that_was_deleted_meanwhile_keeps_its_gpu(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "deleted", model)
        daemon.kill()
        shutil.rmtree(daemon.folder("deleted"))
        (other_name := daemon.home.with_name("link")).symlink_to(daemon.home)
        daemon.home = other_name
        daemon.start()
        daemon.submit(context("next", model, trainer_options={}))
        until(lambda: daemon.job("next").runtime.waiting_for is WaitingFor.GPU, what="the next job to wait")
        told = [sentence for sentence in daemon.info().degraded if "deleted" in sentence]
        assert any(f"`kill {trainer}`" in sentence for sentence in told)
        os.kill(trainer, signal.SIGKILL)  # as the sentence says
        daemon.wait("next", State.RUNNING)
        assert not [sentence for sentence in daemon.info().degraded if "deleted" in sentence]


def test_promise_4_a_job_whose_records_cannot_be_read_can_be_stopped_and_keeps_its_gpu_until_they_can(
    daemon: RunningDaemon, model: Path
) -> None:
    with daemon:
        trainer = run(daemon, "my-lora", model)
        records = daemon.folder("my-lora") / "attempts" / "001"
        away = records.rename(records.with_name("away"))
        records.symlink_to(records)  # ELOOP, as good an error of a volume as any
        daemon.wait("my-lora", State.LOST)
        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        until(lambda: not psutil.pid_exists(trainer), what="the trainer to be gone")
        assert daemon.job("my-lora").runtime.state is State.LOST
        assert [one.job for one in daemon.call(m.GPUS, m.Nothing()).gpus] == ["my-lora"]
        records.unlink()
        away.rename(records)
        daemon.wait("my-lora", State.STOPPED)
