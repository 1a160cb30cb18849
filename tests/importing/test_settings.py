# SPDX-License-Identifier: Apache-2.0
"""Tests of the settings of an imported training: it continues with the flags that it began with, and what cannot be
carried over is reported."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.protocol.messages import Model
from fluxgymd.importing.dataset_file import DatasetFile, read
from fluxgymd.importing.script import Flags, flags, trainer_flags
from fluxgymd.importing.settings import ALL_STATES, Obstacle, OlderFiles, to_job
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.states import StateWriter
from tests.data.older import make

HOME = Path(make.ROOT)
PATHS = {"dataset_config", "output_dir", "output_name", "sample_prompts"}
ADDED = {"save_state", "save_last_n_epochs_state"}


def older(text: str, **changes: Any) -> OlderFiles:
    values: dict[str, Any] = {
        "name": "x",
        "home": HOME,
        "flags": trainer_flags(text),
        "dataset": read(make.dataset_toml("x").encode()),
        "prompts": ("a garden",),
    }
    return OlderFiles(**(values | changes))


def everything(_: str) -> bool:
    return True


def numbers(given: Flags) -> dict[str, list[str | float]]:
    """Converts words to numbers where possible, so that 8e-4 equals 0.0008."""

    def value(word: str) -> str | float:
        try:
            return float(word)
        except ValueError:
            return word

    return {name: [value(word) for word in words] for name, words in given.items()}


@pytest.mark.parametrize("tier", make.TIERS)
@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize("every", [0, 100])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("--seed 42", "--seed 7"),
        ("--gradient_checkpointing ", " "),
        ("--timestep_sampling shift", "--timestep_sampling sigmoid"),
        ("--loss_type l2", '--loss_type huber --huber_schedule constant --network_args "a=1" "b=2"'),
        ("--discrete_flow_shift 3.1582", ""),
    ],
)
def test_the_job_has_the_command_line_of_the_old_training(
    tier: str, fork: bool, every: int, before: str, after: str
) -> None:
    text = make.train_sh("x", tier=tier, fork=fork, every=every).replace(before, after, 1)
    told = older(text)
    context, obstacles = to_job(told, everything)
    assert obstacles == ()
    now = flags(kohya.arguments(context, JobFolder(HOME / "outputs" / "x"), None, trainer=StateWriter.SD_SCRIPTS))
    assert told.flags is not None
    assert now["save_last_n_epochs_state"] == [str(ALL_STATES)]  # so that no state is deleted
    kept = {name: words for name, words in now.items() if name not in PATHS | ADDED}
    assert numbers(kept) == numbers({name: told.flags[name] for name in told.flags if name not in PATHS | ADDED})
    assert ("sample_prompts" in now) == bool(every)


def test_the_settings_become_those_of_a_job() -> None:
    context, _ = to_job(older(make.train_sh("x", tier="20G", every=100)), everything)
    assert context.dataset == "/workspace/fluxgym/datasets/x"
    assert (context.trigger_word, context.repeats, context.resolution) == ("p3rs0n", 10, 512)
    assert (context.epochs, context.save_every_epochs, context.seed, context.network_dim) == (16, 4, 42, 4)
    assert (context.sample_every_steps, context.sample_prompts) == (100, ["a garden"])
    assert (context.learning_rate, context.keep_states) == (8e-4, ALL_STATES)
    assert context.model == Model(
        transformer="/workspace/fluxgym/models/unet/flux1-dev.sft",
        clip_l="/workspace/fluxgym/models/clip/clip_l.safetensors",
        t5xxl="/workspace/fluxgym/models/clip/t5xxl_fp16.safetensors",
        autoencoder="/workspace/fluxgym/models/vae/ae.sft",
    )
    assert context.trainer_options == {"optimizer_type": ["adamw8bit"], "fp8_base": [], "highvram": []}


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"/workspace/fluxgym/datasets/x", "/home/me/fluxgym/datasets/x"}, "/workspace/fluxgym/datasets/x"),
        ({"/home/me/fluxgym/datasets/x"}, "/home/me/fluxgym/datasets/x"),
        (set(), "/workspace/fluxgym/datasets/x"),
    ],
)
def test_a_home_may_have_been_moved(there: set[str], found: str) -> None:
    context, _ = to_job(older(make.train_sh("x"), home=Path("/home/me/fluxgym")), there.__contains__)
    assert context.dataset == found


def test_without_a_dataset_file_the_pictures_are_where_they_always_were() -> None:
    told = older(make.train_sh("x"), dataset=None, trigger_word="O'Keeffe", repeats=5.0, resolution=768)
    context, obstacles = to_job(told, everything)
    assert obstacles == ()
    assert context.dataset == "/workspace/fluxgym/datasets/x"
    assert (context.trigger_word, context.repeats, context.resolution) == ("O'Keeffe", 5, 768)


def test_a_secret_does_not_enter_the_journal() -> None:
    secret = make.train_sh("x", fork=True, advanced="--wandb_api_key k3y --huggingface_token t0ken --log_with wandb")
    context, _ = to_job(older(secret), everything)
    assert b"k3y" not in msgspec.json.encode(context)
    assert b"t0ken" not in msgspec.json.encode(context)
    assert (context.trainer_options or {})["log_with"] == ["wandb"]


@pytest.mark.parametrize(
    ("before", "after", "obstacle"),
    [
        (
            "--seed 42",
            "--seed many",
            Obstacle(sentence="its seed is 'many', which is not a whole number", setting="seed"),
        ),
        (
            "--seed 42",
            "--seed nan",
            Obstacle(sentence="its seed is 'nan', which is not a whole number", setting="seed"),
        ),
        (
            "--seed 42",
            "--seed inf",
            Obstacle(sentence="its seed is 'inf', which is not a whole number", setting="seed"),
        ),
        (
            "--learning_rate 8e-4",
            "--learning_rate 8e-4 $(touch x)",
            Obstacle(
                sentence="its learning_rate is '8e-4 $(touch x)', which is not a number", setting="learning_rate"
            ),
        ),
        (
            "--max_train_epochs 16",
            "--max_train_steps 900",
            Obstacle(
                sentence="its train.sh does not set the number of epochs (max_train_epochs)",
                setting="epochs",
            ),
        ),
        (
            "--seed 42",
            "--config_file more.toml",
            Obstacle(sentence="its train.sh takes settings from another file (config_file)"),
        ),
        (
            "--output_name x",
            "--output_name y",
            Obstacle(sentence="its files are named y but its folder x; rename the files or the folder"),
        ),
        (
            "--network_dim 4",
            "--network_dim 0",
            Obstacle(sentence="network_dim is 0, but must be from 1 to 1024", setting="network_dim"),
        ),
    ],
)
def test_an_obstacle_is_reported(before: str, after: str, obstacle: Obstacle) -> None:
    _, obstacles = to_job(older(make.train_sh("x").replace(before, after)), everything)
    assert obstacles == (obstacle,)


def test_a_dataset_setting_that_no_job_has_is_an_obstacle() -> None:
    told = older(make.train_sh("x"), dataset=DatasetFile(pictures="/d", resolution=512, beyond=("batch_size = 4",)))
    _, obstacles = to_job(told, everything)
    assert obstacles == (Obstacle(sentence="its dataset.toml asks for batch_size = 4, which jobs do not support"),)


def test_without_a_command_line_the_settings_are_not_guessed() -> None:
    _, obstacles = to_job(older("", prompts=()), everything)
    assert obstacles == (Obstacle(sentence="its train.sh, which holds its settings, is missing"),)
