# SPDX-License-Identifier: Apache-2.0
"""A home of an older FluxGym: its trainings become jobs, its files stay unchanged, and a training can be resumed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, context, tensors
from tests.data.older import make

PROCESS = ("--supervisor", "process")


@pytest.fixture
def older(folder: Path) -> Iterator[RunningDaemon]:
    """A daemon on the home of the fork, with some trainings of the original program."""
    for name in ("fork", "original"):
        shutil.copytree(make.HERE / name, folder / "home", dirs_exist_ok=True)
    with RunningDaemon(folder, arguments=PROCESS) as running:
        yield running


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def told(daemon: RunningDaemon, name: str) -> list[str]:
    with Connection(daemon.socket) as connection:
        replies = connection.stream(m.HISTORY, m.JobName(name=name))
        return [reply.text for reply in replies if reply.text is not None]


def test_older_trainings_are_jobs_and_looking_at_them_changes_no_file(folder: Path) -> None:
    home = folder / "home"
    for name in ("fork", "original"):
        shutil.copytree(make.HERE / name, home, dirs_exist_ok=True)
    before = tree(home / "outputs")
    with RunningDaemon(folder, arguments=PROCESS) as daemon:
        states = {job.context.name: job.runtime.state for job in daemon.jobs()}
        assert states == {
            "finished": State.COMPLETED,
            "epochs-only": State.STOPPED,
            "with-states": State.STOPPED,
            "o-keeffe": State.FAILED,
            "stopped": State.STOPPED,
            "torn": State.STOPPED,
            "failed": State.FAILED,
            "resumed": State.COMPLETED,
            "again": State.FAILED,
            "no-script": State.STOPPED,
            "cut-form": State.STOPPED,
        }
        ids = {name: daemon.job(name).runtime.id for name in states}
        assert daemon.job("finished").runtime.result == str(home / "outputs" / "finished" / "finished.safetensors")
        assert told(daemon, "stopped") == [
            "It was submitted.",
            (
                "It was created by an older FluxGym. It was stopped. It has no final file. "
                "Its newest complete state is stopped-000008-state."
            ),
        ]
        found = daemon.call(m.CHECKPOINTS, m.JobName(name="torn")).checkpoints
        assert {checkpoint.name: checkpoint.complete for checkpoint in found} == {
            "torn-000004-state": True,
            "torn-000008-state": False,
        }
        assert any("rename the folder to 'my-lora'" in reason for reason in daemon.info().degraded)
        daemon.stop()
        daemon.start()
        assert {name: daemon.job(name).runtime.id for name in states} == ids
    assert tree(home / "outputs") == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("finished", "it is completed"),
        ("epochs-only", "it saved no state, so it could only start over"),
    ],
)
def test_a_training_that_cannot_continue_is_refused_and_left_unchanged(
    older: RunningDaemon, name: str, says: str
) -> None:
    before = tree(older.folder(name))
    with pytest.raises(WrongState, match=says):
        older.call(m.RESUME, m.ResumeParameters(name=name))
    assert tree(older.folder(name)) == before


TRAIN = """accelerate launch \\
  --num_cpu_threads_per_process 1 \\
  sd-scripts/flux_train_network.py \\
  --pretrained_model_name_or_path "{model}/flux1-dev.safetensors" \\
  --clip_l "{model}/clip_l.safetensors" \\
  --t5xxl "{model}/t5xxl_fp16.safetensors" \\
  --ae "{model}/ae.safetensors" \\
  --tokenizer_cache_dir "{model}/tokenizers" \\
  --cache_latents_to_disk --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk \\
  --save_model_as safetensors --save_precision bf16 --mixed_precision no \\
  --sdpa --persistent_data_loader_workers --max_data_loader_n_workers 2 \\
  --seed 42 \\
  --network_module networks.lora_flux --network_dim 4 --network_alpha 4 --network_train_unet_only \\
  --optimizer_type adamw \\--save_state \\
  --learning_rate 2e-3 \\
  --max_train_epochs 4 --save_every_n_epochs 1 \\
  --dataset_config "{folder}/dataset.toml" \\
  --output_dir "{folder}" --output_name {name} \\
  --timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw \\
  --guidance_scale 1.0 --loss_type l2 --t5xxl_max_token_length 256 \\
"""


def make_older(folder: Path, name: str, model: Path) -> None:
    """Turns a stopped job into what the older program would have left behind."""
    for made in ("events.jsonl", "ui_state.json", "metrics.jsonl", "monitor.log", "sample_prompts.txt"):
        (folder / made).unlink(missing_ok=True)
    for made in ("attempts", "dataset"):
        shutil.rmtree(folder / made)
    (folder / "train.sh").write_text(TRAIN.format(model=model, folder=folder, name=name))
    dataset = make.dataset_toml(name).replace(f"{make.ROOT}/datasets/{name}", str(model / "pictures"))
    dataset = dataset.replace("resolution = 512", "resolution = 64").replace("num_repeats = 10", "num_repeats = 2")
    (folder / "dataset.toml").write_text(dataset)


def test_promise_5_a_resumed_training_ends_as_if_never_interrupted(
    folder: Path, model: Path, undisturbed: dict[str, bytes]
) -> None:
    with RunningDaemon(folder, arguments=PROCESS) as daemon:
        daemon.submit(context("my-lora", model))
        daemon.reach("my-lora", 21)
        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        daemon.wait("my-lora", State.STOPPED)
        daemon.stop()
        make_older(daemon.folder("my-lora"), "my-lora", model)
        before = tree(daemon.folder("my-lora"))
        daemon.start()
        assert daemon.job("my-lora").runtime.state is State.STOPPED
        assert daemon.call(m.RESUME, m.ResumeParameters(name="my-lora")).job.runtime.state is State.QUEUED
        resumed = daemon.wait("my-lora", State.COMPLETED)
        assert resumed.runtime.attempt is not None
        assert resumed.runtime.attempt.number == 1
        assert "my-lora-step" in str(resumed.runtime.attempt.resumed_from)
        assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed
        kinds = [event["event"] for event in daemon.events("my-lora")]
        assert kinds[:4] == ["submitted", "imported", "resume_asked", "reserved"]
        assert kinds[-1] == "ended"
        nothing_is_lost(before, tree(daemon.folder("my-lora")))


def test_promise_5_a_training_of_sd_scripts_continues_with_our_trainer(folder: Path, model: Path) -> None:
    """It resumes after the epoch in the state's name: the step counter of sd-scripts restarts at each resume."""
    with RunningDaemon(folder, arguments=PROCESS) as daemon:
        daemon.submit(context("my-lora", model))
        daemon.reach("my-lora", 33)
        daemon.call(m.STOP, m.StopParameters(name="my-lora"))
        daemon.wait("my-lora", State.STOPPED)
        daemon.stop()
        make_older(daemon.folder("my-lora"), "my-lora", model)
        for state in daemon.folder("my-lora").glob("*-state"):
            if "-step" in state.name:
                shutil.rmtree(state)
            else:
                (state / "train_state.json").write_text('{"current_epoch": 1, "current_step": 16}')
        daemon.start()
        daemon.call(m.RESUME, m.ResumeParameters(name="my-lora"))
        resumed = daemon.wait("my-lora", State.COMPLETED).runtime.attempt
        assert resumed is not None
        assert str(resumed.resumed_from).endswith("/my-lora-000002-state")
        lines = map(json.loads, (daemon.folder("my-lora") / "metrics.jsonl").read_text().splitlines())
        steps = [line["step"] for line in lines if line["phase"] == "training"]
        assert (steps[0], steps[-1]) == (32, 64)


def nothing_is_lost(before: dict[str, tuple[int, bytes]], after: dict[str, tuple[int, bytes]]) -> None:
    """Checks that each old file is unchanged, or was kept before it was overwritten; logs may have grown."""
    for name, (time, content) in before.items():
        if name.endswith(".log"):
            assert after[name][1].startswith(content)
        elif content:
            assert (time, content) in (after.get(name), after.get(f"before-import/{name}")), name
        else:
            assert name in after
