# SPDX-License-Identifier: Apache-2.0
"""`submit --from` with a real daemon and trainer: settings of a GUI become a job, and remarks tell the rest."""

import json
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl


@pytest.fixture
def settings(spec: Path, tmp_path: Path) -> Path:
    """A file of kohya_ss' GUI, whose models and pictures are on this machine."""
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "2_a sign").symlink_to(spec.parent / "pictures")
    models = spec.parent / "models"
    said = {
        "LoRA_type": "Flux1",
        "pretrained_model_name_or_path": f"{models}/flux1-dev.safetensors",
        "clip_l": f"{models}/clip_l.safetensors",
        "t5xxl": f"{models}/t5xxl_fp16.safetensors",
        "ae": f"{models}/ae.safetensors",
        "train_data_dir": "img",
        "caption_extension": ".txt",
        "max_resolution": "128,128",
        "max_train_epochs": 0,
        "max_train_steps": 120,
        "network_dim": 8,
        "network_alpha": 4,
        "learning_rate": 0.001,
        "unet_lr": 0.001,
        "optimizer": "AdamW",
        "output_name": "My Sign",
        "wandb_api_key": "secret",
    }
    file = tmp_path / "gui.json"
    file.write_text(json.dumps(said))
    return file


def test_the_settings_of_a_gui_become_a_job(shared_daemon: RunningDaemon, settings: Path, spec: Path) -> None:
    tokenizers = str(spec.parent / "models" / "tokenizers")
    words = ("submit", "--from", str(settings), "--network-dim", "16", "--tokenizers", tokenizers, "--hold")
    done = ctl(*words, socket=shared_daemon.socket)
    assert (done.returncode, done.stdout) == (0, "my-sign\n"), done.stderr
    assert done.stderr.splitlines() == [
        f"fluxgymctl: {settings} has settings of kohya_ss.",
        "fluxgymctl: wandb_api_key = ... is not carried over: a job keeps no secrets.",
        "fluxgymctl: max_train_steps = 120 becomes epochs = 5, as many as have that number of steps.",
    ]
    job = shared_daemon.job("my-sign").context
    assert (job.epochs, job.repeats, job.network_dim, job.resolution) == (5, 2, 16, 128)
    assert (job.dataset, job.trigger_word) == (f"{settings.parent}/img/2_a sign", "a sign")
    options = job.trainer_options or {}
    assert (options["network_alpha"], options["network_train_unet_only"]) == (["4"], [])
    assert "secret" not in (shared_daemon.folder("my-sign") / "events.jsonl").read_text()
    shared_daemon.remove("my-sign")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("--from", "{spec}"), 2, "The file is a spec file of FluxGym's own; give it with --file."),
        (("--from", "none.json"), 2, "none.json cannot be read: No such file or directory."),
        (("--from", "{spec}", "--like", "a"), 2, "--from and --like cannot both be given."),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    words: tuple[str, ...], status: int, sentence: str, shared_daemon: RunningDaemon, spec: Path
) -> None:
    done = ctl("submit", *(word.format(spec=spec) for word in words), socket=shared_daemon.socket)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"fluxgymctl: {sentence}\n")
