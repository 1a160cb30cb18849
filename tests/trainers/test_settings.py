# SPDX-License-Identifier: Apache-2.0
"""Tests of a training's settings: the defaults, and one clear error for each wrong value."""

from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Kind, Model, Part, RestartPolicy, TriggerPlace, WatchdogMode
from fluxgymd.requests.edit import merge
from fluxgymd.trainers import command_line, settings
from fluxgymd.trainers.settings import TRAINING_ONLY
from tests.trainers.adapters import trainers


def complete(context: Context, home: Path) -> Context:
    """Fills in the defaults with the adapter of the job's trainer."""
    return trainers().of(context).complete(context, home)


def context(**settings: Any) -> Context:
    return Context(**{"name": "my-lora", "dataset": "/pictures"} | settings)


def test_only_a_name_and_a_dataset_are_needed(tmp_path: Path) -> None:
    assert complete(context(), tmp_path) == Context(
        name="my-lora",
        kind=Kind.TRAINING,
        dataset="/pictures",
        model=Model(
            transformer=f"{tmp_path}/models/unet/flux1-dev.sft",
            clip_l=f"{tmp_path}/models/clip/clip_l.safetensors",
            t5xxl=f"{tmp_path}/models/clip/t5xxl_fp16.safetensors",
            autoencoder=f"{tmp_path}/models/vae/ae.sft",
        ),
        trigger_place=TriggerPlace.FIRST,
        resolution=512,
        enable_bucket=True,
        repeats=10,
        epochs=16,
        save_every_epochs=4,
        sample_prompts=[],
        seed=42,
        learning_rate=8e-4,
        network_dim=4,
        trainer_options={},
        priority=0,
        held=False,
        after=[],
        gpus=[],
        gpu_count=1,
        restart=RestartPolicy.ON_INTERRUPTION,
        keep_states=3,
    )


def test_a_job_of_an_earlier_version_gets_no_setting_that_would_change_its_training(tmp_path: Path) -> None:
    older = context(trainer_options={"enable_bucket": [], "min_bucket_reso": ["64"]})
    filled = settings.complete_training(older, tmp_path, new=False)
    assert (filled.trigger_place, filled.enable_bucket, filled.epochs) == (None, None, 16)
    assert filled.trainer_options == older.trainer_options


def test_one_of_several_resolutions_is_the_plain_form(tmp_path: Path) -> None:
    filled = complete(context(resolutions=[768]), tmp_path)
    assert (filled.resolution, filled.resolutions) == (768, None)
    filled = complete(context(resolutions=[]), tmp_path)
    assert (filled.resolution, filled.resolutions) == (512, None)
    filled = complete(context(resolutions=[512, 768]), tmp_path)
    assert (filled.resolution, filled.resolutions) == (None, [512, 768])
    assert complete(filled, tmp_path) == filled
    assert complete(merge(filled, Context(name="x", resolution=640)), tmp_path).resolutions is None
    assert complete(merge(context(resolution=512), Context(name="x", resolutions=[512, 768])), tmp_path) is not None


def test_a_program_needs_only_itself(tmp_path: Path) -> None:
    given = Context(name="captions", kind=Kind.PROGRAM, program=["/bin/true"])
    filled = complete(given, tmp_path)
    assert filled == Context(
        name="captions",
        kind=Kind.PROGRAM,
        program=["/bin/true"],
        priority=0,
        held=False,
        after=[],
        gpus=[],
        restart=RestartPolicy.ON_INTERRUPTION,
    )
    assert complete(filled, tmp_path) == filled


def test_given_settings_are_kept(tmp_path: Path) -> None:
    (tmp_path / "models" / "tokenizers").mkdir(parents=True)
    given = context(
        model=Model(transformer="/x/flux.sft", tokenizers="/x/tokenizers"),
        trigger_word="sks cat",
        trigger_place=TriggerPlace.MISSING,
        resolution=1024,
        enable_bucket=False,
        epochs=1,
        sample_every_steps=100,
        sample_prompts=["sks cat on a mat --w 512"],
        seed=0,
        learning_rate=1e-4,
        trainer_options={"network_alpha": ["8"]},
        priority=-7,
        held=True,
        after=["other"],
        gpus=["1", "GPU-aaaa"],
        gpu_count=2,
        restart=RestartPolicy.NEVER,
        keep_states=1,
    )
    filled = complete(given, tmp_path)
    kept = {name for name in given.__struct_fields__ if getattr(given, name) is not None} - {"model"}
    assert {name: getattr(filled, name) for name in kept} == {name: getattr(given, name) for name in kept}
    assert filled.model is not None
    assert (filled.model.transformer, filled.model.tokenizers) == ("/x/flux.sft", "/x/tokenizers")
    assert filled.model.clip_l == f"{tmp_path}/models/clip/clip_l.safetensors"
    assert complete(filled, tmp_path) == filled  # a second time changes nothing


def test_the_tokenizers_of_the_home_are_used_if_they_exist(tmp_path: Path) -> None:
    (tmp_path / "models" / "tokenizers").mkdir(parents=True)
    filled = complete(context(), tmp_path)
    assert filled.model is not None
    assert filled.model.tokenizers == f"{tmp_path}/models/tokenizers"


def parts(*entries: Part | str) -> dict[str, Any]:
    """Returns settings with these parts instead of a dataset."""
    return {"dataset": None, "parts": [Part(dataset=part) if isinstance(part, str) else part for part in entries]}


TWICE = "is given as two parts; give it once, with the repeats that you want."
WRONG: list[tuple[dict[str, Any], str, str]] = [
    (
        parts("cats") | {"dataset": "/pictures"},
        "parts",
        "The job has both dataset and parts; give its pictures as one of them.",
    ),
    (parts(), "parts", "parts is empty; give at least one part, or dataset instead."),
    (
        parts(*(f"d{number}" for number in range(65))),
        "parts",
        "parts has 65 entries, but a job can have at most 64.",
    ),
    (
        parts("cats", ""),
        "parts",
        "parts has an entry without a dataset; give the name of one, or the folder with the pictures.",
    ),
    (
        parts(Part(dataset="cats", regularisation=True)),
        "parts",
        "All parts are regularisation; at least one must have the pictures that the LoRA learns from.",
    ),
    (parts("cats", "/d", "cats"), "parts", f"cats {TWICE}"),
    (parts("/d", Part(dataset="/x/../d/", regularisation=True)), "parts", f"/x/../d/ {TWICE}"),
    (parts("./d"), "parts", "parts is './d', but must be an absolute path."),
    (
        parts(Part(dataset="cats", repeats=0)),
        "repeats",
        "parts, cats: repeats is 0, but must be from 1 to 100000 times.",
    ),
    (
        parts(Part(dataset="cats", caption="a\nb")),
        "parts",
        "parts contains a control character; it must be one line of text.",
    ),
    ({"dataset": None}, "dataset", "The job has no dataset; give the name of one, or the folder with the pictures."),
    ({"dataset": ""}, "dataset", "The job has no dataset; give the name of one, or the folder with the pictures."),
    ({"dataset": "./pictures"}, "dataset", "dataset is './pictures', but must be an absolute path."),
    ({"dataset": "/pic\0tures"}, "dataset", "dataset contains a NUL character, which a path cannot."),
    (
        {"model": Model(clip_l="clip.safetensors")},
        "model.clip_l",
        "model.clip_l is 'clip.safetensors', but must be an absolute path.",
    ),
    (
        {"model": Model(tokenizers="/t\0")},
        "model.tokenizers",
        "model.tokenizers contains a NUL character, which a path cannot.",
    ),
    ({"resolution": 63}, "resolution", "resolution is 63, but must be from 64 to 4096 pixels."),
    ({"resolution": 4097}, "resolution", "resolution is 4097, but must be from 64 to 4096 pixels."),
    ({"repeats": 0}, "repeats", "repeats is 0, but must be from 1 to 100000 times."),
    ({"epochs": 0}, "epochs", "epochs is 0, but must be from 1 to 1000000 epochs."),
    (
        {"save_every_epochs": -1},
        "save_every_epochs",
        "save_every_epochs is -1, but must be from 1 to 1000000 epochs.",
    ),
    (
        {"sample_every_steps": 0},
        "sample_every_steps",
        "sample_every_steps is 0, but must be from 1 to 1000000000 steps.",
    ),
    (
        {"sample_every_epochs": 0},
        "sample_every_epochs",
        "sample_every_epochs is 0, but must be from 1 to 1000000 epochs.",
    ),
    ({"seed": -1}, "seed", "seed is -1, but must be from 0 to 9223372036854775807."),
    ({"network_dim": 0}, "network_dim", "network_dim is 0, but must be from 1 to 1024."),
    ({"network_dim": 1025}, "network_dim", "network_dim is 1025, but must be from 1 to 1024."),
    ({"learning_rate": 0.0}, "learning_rate", "learning_rate is 0.0, but must be more than 0 and at most 100."),
    ({"learning_rate": -1e-4}, "learning_rate", "learning_rate is -0.0001, but must be more than 0 and at most 100."),
    (
        {"learning_rate": float("nan")},
        "learning_rate",
        "learning_rate is nan, but must be more than 0 and at most 100.",
    ),
    (
        {"learning_rate": float("inf")},
        "learning_rate",
        "learning_rate is inf, but must be more than 0 and at most 100.",
    ),
    ({"sample_every_steps": 10}, "sample_prompts", "Samples are requested, but sample_prompts is empty."),
    (
        {"sample_every_epochs": 1, "sample_prompts": []},
        "sample_prompts",
        "Samples are requested, but sample_prompts is empty.",
    ),
    *[
        (
            {"trainer_options": {"enable_bucket": words}, "enable_bucket": given},
            "enable_bucket",
            "trainer_options.enable_bucket would have no effect; use enable_bucket instead.",
        )
        for words in ([], ["false"])
        for given in (None, True, False)
    ],
    *[
        (
            {"trainer_options": {flag: words}, "enable_bucket": False},
            flag,
            f"trainer_options.{flag} has no effect without enable_bucket; turn that on, or leave this out.",
        )
        for flag, words in (("min_bucket_reso", ["64"]), ("bucket_no_upscale", []))
    ],
    (
        {"resolution": 512, "resolutions": [512, 768]},
        "resolutions",
        "resolution and resolutions are both given; give one of them.",
    ),
    (
        {"resolutions": [512, 63]},
        "resolutions",
        "resolutions contains 63, but each must be from 64 to 4096 pixels.",
    ),
    ({"resolutions": [512, 512]}, "resolutions", "resolutions contains 512 twice; give it once."),
    (
        {"resolutions": list(range(64, 81))},
        "resolutions",
        "resolutions has 17 entries, but may have at most 16.",
    ),
    (
        {"trigger_word": "sks\ncat"},
        "trigger_word",
        "trigger_word contains a control character; it must be one line of text.",
    ),
    (
        {"sample_prompts": ["a cat", "a\tdog"]},
        "sample_prompts",
        "sample_prompts contains a control character; it must be one line of text.",
    ),
    (
        {"sample_prompts": ["a\u2028b"]},
        "sample_prompts",
        "sample_prompts contains a control character; it must be one line of text.",
    ),
    (
        {"sample_prompts": ["a cat", " "]},
        "sample_prompts",
        "sample_prompts contains ' ', which trainers skip; a prompt must not be empty or begin with #.",
    ),
    (
        {"sample_prompts": [" #1 cat"]},
        "sample_prompts",
        "sample_prompts contains ' #1 cat', which trainers skip; a prompt must not be empty or begin with #.",
    ),
]

QUEUEING: list[tuple[dict[str, Any], str, str]] = [
    ({"priority": 1001}, "priority", "priority is 1001, but must be from -1000 to 1000."),
    ({"priority": -1001}, "priority", "priority is -1001, but must be from -1000 to 1000."),
    ({"gpu_count": 0}, "gpu_count", "gpu_count is 0, but must be from 1 to 64 GPUs."),
    ({"gpu_count": 65}, "gpu_count", "gpu_count is 65, but must be from 1 to 64 GPUs."),
    ({"keep_states": 0}, "keep_states", "keep_states is 0, but must be from 1 to 1000 checkpoints."),
    ({"gpus": ["0"], "gpu_count": 2}, "gpu_count", "gpu_count is 2, but gpus names only 1."),
    ({"gpus": ["0", "0"], "gpu_count": 2}, "gpu_count", "gpu_count is 2, but gpus names only 1."),
    ({"after": ["other", "my-lora"]}, "after", "A job cannot wait for itself."),
    ({"kind": Kind.UNKNOWN}, "kind", "kind has a value that this daemon does not know."),
    ({"restart": RestartPolicy.UNKNOWN}, "restart", "restart has a value that this daemon does not know."),
    (
        {"trigger_place": TriggerPlace.UNKNOWN},
        "trigger_place",
        "trigger_place has a value that this daemon does not know.",
    ),
    ({"watchdog": WatchdogMode.UNKNOWN}, "watchdog", "watchdog has a value that this daemon does not know."),
    (
        {"watchdog_limits": {"training_still_second": 60.0}},
        "watchdog_limits.training_still_second",
        "There is no limit training_still_second; did you mean training_still_seconds?",
    ),
    (
        {"watchdog_limits": {"gpu_idle_percent": 101.0}},
        "watchdog_limits.gpu_idle_percent",
        "watchdog_limits.gpu_idle_percent is 101, but must be a number from 0 to 100 (per cent).",
    ),
    ({"program": ["/bin/true"]}, "program", "program is for jobs of the kind program; a training has none."),
]

TOO_LONG = "x" * (command_line.LONGEST_ARGUMENT + 1)
MANY = ["x" * 1000] * (command_line.MOST_ARGUMENTS // 1000)
LENGTHY: list[tuple[dict[str, Any], str, int]] = [
    ({"dataset": "/" + TOO_LONG}, "dataset", 131073),
    ({"dataset": None, "parts": [Part(dataset="/a"), Part(dataset="/" + TOO_LONG)]}, "parts", 131073),
    ({"model": Model(clip_l="/" + TOO_LONG)}, "model.clip_l", 131073),
    ({"trainer_options": {"network_args": ["a=1", TOO_LONG]}}, "trainer_options.network_args", 131072),
    ({"trainer_options": {"x" * 131_070: []}}, f"trainer_options.{'x' * 80}", 131072),
]
SAYS = "has an argument of {} bytes, but the kernel accepts at most 131071; put it into a file."
WRONG += [(settings, setting, f"{setting} {SAYS.format(size)}") for settings, setting, size in LENGTHY]
TOGETHER = (
    f"The arguments of program have more than {command_line.MOST_ARGUMENTS} bytes together, which is more than the "
    "kernel accepts; put them into a file."
)

PROGRAMS: list[tuple[dict[str, Any], str, str]] = [
    *[
        ({"program": words}, "program", "A job of the kind program needs a program and its arguments.")
        for words in (None, [], [""], [" ", "-c"])
    ],
    ({"program": ["true"]}, "program", "The program is 'true', but must be an absolute path."),
    ({"program": ["/bin/echo", "a\0b"]}, "program", "program contains a NUL character, which an argument cannot."),
    (
        {"program": ["/bin/echo", TOO_LONG]},
        "program",
        "program has an argument of 131072 bytes, but the kernel accepts at most 131071; put it into a file.",
    ),
    (
        {"program": ["/bin/echo", *MANY]},
        "program",
        TOGETHER,
    ),
    ({"dataset": "/pictures"}, "dataset", "dataset is only for trainings, not for programs."),
    ({"epochs": 3}, "epochs", "epochs is only for trainings, not for programs."),
    ({"gpus": ["0"]}, "gpus", "gpus is only for trainings, not for programs."),
    ({"gpu_count": 1}, "gpu_count", "gpu_count is only for trainings, not for programs."),
    ({"trainer_options": {}}, "trainer_options", "trainer_options is only for trainings, not for programs."),
    ({"priority": 2000}, "priority", "priority is 2000, but must be from -1000 to 1000."),
]


@pytest.mark.parametrize(("settings", "setting", "sentence"), PROGRAMS)
def test_a_wrong_program_is_refused_in_one_sentence(
    tmp_path: Path, settings: dict[str, Any], setting: str, sentence: str
) -> None:
    usual: dict[str, Any] = {"name": "captions", "kind": Kind.PROGRAM, "program": ["/bin/true"]}
    with pytest.raises(InvalidSetting) as refusal:
        complete(Context(**usual | settings), tmp_path)
    assert refusal.value.message == sentence
    assert refusal.value.fields == {"setting": setting}


def test_each_setting_is_for_all_kinds_or_for_trainings() -> None:
    """A new setting must be added to one of these, or a program would silently accept it."""
    for_programs = {"name", "kind", "program", "priority", "held", "after", "restart", "watchdog", "watchdog_limits"}
    assert set(Context.__struct_fields__) == for_programs | set(TRAINING_ONLY) | {"gpus"}


@pytest.mark.parametrize(("settings", "setting", "sentence"), [*WRONG, *QUEUEING])
def test_a_wrong_value_is_refused_in_one_sentence(
    tmp_path: Path, settings: dict[str, Any], setting: str, sentence: str
) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        complete(context(**settings), tmp_path)
    assert refusal.value.message == sentence
    assert refusal.value.fields == {"setting": setting}


@pytest.mark.parametrize(
    "settings",
    [
        {"resolution": 64},
        {"resolution": 4096},
        {"repeats": 100_000},
        {"seed": 2**63 - 1},
        {"network_dim": 1024},
        {"priority": 1000},
        {"priority": -1000},
        {"gpu_count": 64, "keep_states": 1000},
        {"gpus": ["0", "GPU-aaaa"], "gpu_count": 2},
        {"learning_rate": 100.0},
        {"trigger_word": 'it\'s "sks" \\ café 猫'},
        {"dataset": "/pic\ntures"},
    ],
)
def test_the_ends_of_the_ranges_and_odd_texts_are_accepted(tmp_path: Path, settings: dict[str, Any]) -> None:
    filled = complete(context(**settings), tmp_path)
    assert {name: getattr(filled, name) for name in settings} == settings
