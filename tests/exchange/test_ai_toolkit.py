# SPDX-License-Identifier: Apache-2.0
"""Tests of settings of ai-toolkit that its whole file in test_converting.py does not have, one at a time."""

import pytest

from fluxgym.protocol.messages import Context
from tests.exchange.material import YAML, converted


def changed(written: str, instead: str) -> Context:
    assert written in YAML
    return converted(YAML.replace(written, instead))[1]


@pytest.mark.parametrize(
    ("written", "instead", "option", "words"),
    [
        ("caption_ext: txt", "caption_ext: caption", "caption_extension", [".caption"]),
        ("shuffle_tokens: false", "shuffle_tokens: true", "shuffle_caption", []),
        ("shuffle_tokens: false", "flip_x: true", "flip_aug", []),
        ("dtype: bf16", "lr_scheduler: linear", "lr_scheduler", ["linear"]),
        ("dtype: bf16", "max_grad_norm: 0.5", "max_grad_norm", ["0.5"]),
        ("batch_size: 1", "batch_size: 2", "train_batch_size", ["2"]),
        ("accumulation_steps: 1", "accumulation_steps: 4", "gradient_accumulation_steps", ["4"]),
        ("train_unet", "skip_first_sample: true\n        train_unet", "sample_at_first", None),
    ],
)
def test_options(written: str, instead: str, option: str, words: list[str] | None) -> None:
    assert (changed(written, instead).trainer_options or {}).get(option) == words


@pytest.mark.parametrize(
    ("written", "instead", "field", "value"),
    [
        ("resolution: [512, 768, 1024]", "resolution: 768", "resolution", 768),
        ("resolution: [512, 768, 1024]", "resolution: [768]", "resolution", 768),
        ("trigger_word: c4t", "", "trigger_word", None),
    ],
)
def test_fields(written: str, instead: str, field: str, value: object) -> None:
    assert getattr(changed(written, instead), field) == value


def test_a_model_in_a_file() -> None:
    model = changed("black-forest-labs/FLUX.1-dev", "flux/dev.safetensors").model
    assert model is not None
    assert model.transformer == "/in/flux/dev.safetensors"


@pytest.mark.parametrize(
    ("written", "instead", "note"),
    [
        ("type: lora", "type: lokr", "network.type = lokr is not carried over: FluxGym trains LoRAs only."),
        (
            "linear: 32",
            "network_kwargs: {a: 1}",
            "network.network_kwargs = {'a': 1} is not carried over: use trainer_options.network_args.",
        ),
        (
            "train_unet: true",
            "train_unet: false",
            "train.train_unet = false is not carried over: the transformer is always trained.",
        ),
        ("dtype: bf16", "dtype: fp16", "train.dtype = fp16 is not carried over: FluxGym computes in bf16."),
        (
            "dtype: bf16",
            "timestep_type: weighted",
            (
                "train.timestep_type = weighted is not carried over: "
                "FluxGym has sigmoid, linear, shift, flux_shift of these."
            ),
        ),
        (
            "dtype: float16",
            "dtype: float8",
            "save.dtype = float8 is not carried over: the trainer saves in bf16, float, fp16.",
        ),
        ('neg: ""', "neg: ugly", "sample.neg = ugly is not carried over: FLUX.1 uses no negative prompt."),
    ],
)
def test_what_does_not_carry_over(written: str, instead: str, note: str) -> None:
    assert written in YAML
    assert note in converted(YAML.replace(written, instead))[2]
