# SPDX-License-Identifier: Apache-2.0
"""Walks every flag of the trainer and every key of dataset.toml: as an option or a field of a job, each changes what
the trainer reads, is refused with a sentence, or is reported to have no effect. None is silently ignored."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context
from fluxgymd.trainers import flag_kinds, kohya, settings
from fluxgymd.trainers.flag_kinds import Flag
from tests.settings import asked, values
from tests.settings.tables import TRAINER, Tables, ask, flags
from tests.settings.values import OFF, Options

MORE: Options = {
    "bucket_reso_steps": ["32"],
    "max_bucket_reso": ["512"],
    "caption_extension": [".caption"],
    "caption_extention": [".caption"],
    "config_file": ["/etc/x.toml"],
    "compile_cache_size_limit": ["9"],
    "debug_hang": ["sleep@training:5"],
    "debug_hang_once": ["/tmp/once"],
    "initial_step": ["3"],
    "lr_scheduler_args": ["step_size=4"],
    "lr_scheduler_type": ["StepLR"],
    "network_args": ["train_blocks=single"],
    "network_weights": ["/w.safetensors"],
    "optimizer_args": ["weight_decay=0.1"],
    "optimizer_type": ["prodigy"],
}
"""Values of flags that no draw has, or whose drawn values are those of every job."""
MORE_NEEDS: dict[str, Options] = {
    "dim_from_weights": {"network_weights": ["/w.safetensors"]},
    "debug_hang_once": {"debug_hang": ["sleep@training:5"]},
    "compile_backend": {"compile": []},
    "dynamo_backend": {"torch_compile": []},
    **{
        name: {"validation_split": ["0.5"]}
        for name in ("validation_seed", "validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps")
    },
}
ON_A_GPU = values.by_name(
    {
        "the kernels other than math exist on GPUs only; tests/sd_scripts/on_gpu compares them": "attention",
        "it decides what stays in a GPU's memory; tests/sd_scripts/on_gpu trains with it": "vram",
        "tests/sd_scripts/on_gpu measures the speed of compiled blocks": """
            compile no_compile torch_compile compile_backend compile_mode compile_dynamic compile_cache_size_limit
            dynamo_backend""",
    }
)
"""Flags that change no result on a CPU, apart from rounding; that the trainer reads them is shown here too."""


@pytest.fixture(scope="module")
def tables() -> Tables:
    return ask()


@pytest.fixture(scope="module")
def known() -> dict[str, Flag]:
    return {name: flag for name, flag in flags().items() if name != "help"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked.pictures(tmp_path_factory.mktemp("pictures"))


def job(pictures: Path, options: Options, **changes: Any) -> Context:
    usual: dict[str, Any] = {"name": "x", "dataset": str(pictures), "trigger_word": "c4t", "trainer_options": options}
    return settings.complete_training(Context(**(usual | changes)), Path("/home/fg"))


def refusal(name: str, words: list[str], pictures: Path) -> str | None:
    """Returns the sentence with which the daemon refuses an option; None if it takes it."""
    problems = kohya.refused_options({name: words})
    if problems:
        return problems[0].sentence
    try:
        job(pictures, {name: words})
    except InvalidSetting as error:
        return error.message
    return None


def only_one(flag: Flag) -> bool:
    """Returns whether the flag has one valid value, so that there is nothing to choose."""
    return flag.supported is not None and len(flag.supported) == 1


def candidates(name: str, tables: Tables) -> list[list[str]]:
    """Returns the words to try for a flag."""
    found = [*tables.flags.get(name, ()), *([MORE[name]] if name in MORE else [])]
    return [*(found or [["1"]]), OFF]


def test_each_flag_is_refused_reported_or_read_by_the_trainer(
    tables: Tables, known: dict[str, Flag], pictures: Path, tmp_path: Path
) -> None:
    refused, reported, single, asked_about = set(), set(), set(), []
    for name, flag in known.items():
        words = candidates(name, tables)
        sentence = refusal(name, words[0], pictures)
        if sentence is not None:
            assert f"trainer_options.{name} " in sentence
            assert "; use " in sentence
            refused.add(name)
        elif flag_kinds.without_effect({name: words[0]}, known):
            reported.add(name)
        elif only_one(flag):
            single.add(name)
        else:
            needs = values.NEEDS.get(name, {}) | MORE_NEEDS.get(name, {})
            base = {other: given for other, given in needs.items() if other != name}
            asked_about += [(name, job(pictures, base)), *((name, job(pictures, base | {name: w})) for w in words)]
    answers = asked.trained([context for _, context in asked_about], tmp_path)
    silent = {}
    for name in known.keys() - refused - reported - single:
        found = [answer for (other, _), answer in zip(asked_about, answers, strict=True) if other == name]
        part = "datasets" if values.FLAGS_OF_KEYS.get(name, name) in tables.dataset_keys else "options"
        read = [answer[part] for answer in found if not answer["problems"]]
        if not any(one != other for one in read for other in read):
            silent[name] = [answer["problems"] for answer in found]
    assert silent == {}
    assert {"resolution", "enable_bucket", "output_dir", "max_train_steps"} <= refused
    assert {"vae_batch_size", "highvram"} <= reported
    assert set(ON_A_GPU) <= known.keys() - refused - reported


def test_the_trainer_uses_each_flag_that_it_reads(tables: Tables, known: dict[str, Flag], pictures: Path) -> None:
    """A flag that is parsed and then forgotten would change nothing."""
    used = names_used_in(TRAINER)
    for name, flag in known.items():
        if not flag_kinds.without_effect({name: candidates(name, tables)[0]}, known) and not only_one(flag):
            assert name in used, name


def names_used_in(trainer: Path) -> set[str]:
    """Returns the attributes and texts that occur in the trainer. The names in the table of its flags are neither."""
    found = set()
    for path in trainer.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


FIELDS: dict[str, tuple[Any, Any]] = {
    "resolution": (512, 1024),
    "repeats": (1, 2),
    "trigger_word": ("c4t", "d0g"),
    "enable_bucket": (True, False),
}
"""Field -> two values; the dataset is another folder in every job."""


def test_each_field_that_is_a_key_of_the_dataset_file_changes_what_is_trained(
    tables: Tables, pictures: Path, tmp_path: Path
) -> None:
    jobs = [job(pictures, {}, **{name: value}) for name, pair in FIELDS.items() for value in pair]
    answers = asked.trained(jobs, tmp_path)
    for number, name in enumerate(FIELDS):
        one, other = answers[2 * number : 2 * number + 2]
        assert one["pictures"] != other["pictures"], name
    by_field = {field for key, field in values.KEYS_BY_FIELD.items() if key in tables.dataset_keys}
    assert by_field - {"dataset"} <= FIELDS.keys()


def test_an_option_that_has_no_effect_is_named_with_the_reason(known: dict[str, Flag]) -> None:
    (problem,) = flag_kinds.without_effect({"vae_batch_size": ["2"], "seed": ["1"], "highvram": ["false"]}, known)
    assert problem.sentence == ("trainer_options.vae_batch_size has no effect: pictures are encoded one by one.")
    assert problem.setting == "vae_batch_size"
