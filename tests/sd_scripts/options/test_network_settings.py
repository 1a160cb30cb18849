# SPDX-License-Identifier: Apache-2.0
"""--network_args against sd-scripts' networks.lora_flux on all of flux1-dev, and LoRAs to start from."""

from __future__ import annotations

import collections
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from library.errors import TrainerError
from library.files import safetensors_file
from library.flux.model import Flux
from library.lora import network
from library.lora.lora import LoRANetwork
from library.optim import optimizer
from tests.sd_scripts.command_line import options
from tests.sd_scripts.in_process import run
from tests.sd_scripts.lora.models import full_width, tiny_transformer
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Settings

RECORDED = recorded("network-args")


def dev_and_clip() -> tuple[Flux, CLIPTextModel]:
    """flux1-dev and a CLIP of two layers, on the meta device."""
    with torch.device("meta"):
        flux = Flux(full_width(19, 38))
        clip = CLIPTextModel(
            CLIPTextConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1)
        )
    return flux, clip


def lora_of(words: list[str]) -> LoRANetwork:
    flux, clip = dev_and_clip()
    given = options("--network_args", *words) if words else options()
    return LoRANetwork(transformer=flux, clip=clip, rank=4, alpha=1, seed=0, settings=given.network)


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: " ".join(case["network_args"]) or "none")
def test_layers_and_ranks_are_those_of_sd_scripts(case: dict[str, Any]) -> None:
    ranks = {name: part.down.shape[0] for name, part in lora_of(case["network_args"]).parts()}
    counted = collections.Counter(str(rank) for rank in ranks.values())
    assert (len(ranks), counted) == (case["modules"], case["modules_by_rank"])
    text = "\n".join(f"{name} {rank}" for name, rank in sorted(ranks.items()))
    assert hashlib.sha256(text.encode()).hexdigest() == case["sha256"]


def test_groups_and_rates_are_those_of_sd_scripts() -> None:
    case = RECORDED["groups"]
    words = ["--text_encoder_lr", str(case["text_encoder_lr"]), "--unet_lr", str(case["unet_lr"])]
    groups = optimizer.parameter_groups(
        lora_of(case["network_args"]), options("--network_args", *case["network_args"], *words)
    )
    assert [len(group["params"]) for group in groups] == [group["tensors"] for group in case["groups"]]
    assert [group["lr"] for group in groups] == pytest.approx([group["lr"] for group in case["groups"]])


def test_a_rate_for_t5_is_accepted_and_has_no_effect() -> None:
    """sd-scripts takes a list: CLIP-L's rate, then T5's, which is not trained."""
    words = ["--unet_lr", "0", "--text_encoder_lr", "0.5", "0.25"]
    (clip,) = optimizer.parameter_groups(lora_of([]), options(*words))
    assert (len(clip["params"]), clip["lr"]) == (24, 0.5)


def test_rate_0_leaves_a_part_unchanged() -> None:
    only_clip = optimizer.parameter_groups(lora_of([]), options("--unet_lr", "0", "--learning_rate", "1"))
    assert [len(group["params"]) for group in only_clip] == [24]
    with pytest.raises(TrainerError, match="every learning rate is 0"):
        optimizer.build(lora_of([]), options("--learning_rate", "0"), on_gpu=False)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("img_attn_dim=-1", "img_attn_dim=-1: the value must be a whole number of at least 0"),
        ("in_dims=[1,2]", "the value must be [five ranks], for img_in, time_in, vector_in, guidance_in, txt_in"),
        ("train_double_block_indices=4-2", "the value must be all, none, or numbers and ranges such as 0,1,8-12"),
        ("rank_dropout=1", "the value must be a number from 0 to less than 1"),
        ("network_reg_dims=(=3", "the value must be PATTERN=RANK,..."),
        ("loraplus_lr_ratio=0", "the value must be a number above 0"),
        ("split_qkv=True", "the value must be False (q, k and v have one LoRA)"),
        ("ggpo_beta=1", "unsupported argument 'ggpo_beta=1'; supported are "),
    ],
)
def test_wrong_values_are_reported(word: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--network_args", word)
    assert sentence in capsys.readouterr().err


def test_a_block_that_the_model_lacks_is_reported(settings: Settings) -> None:
    outcome = run(settings.plus("--network_args train_single_block_indices=0,3"))
    assert outcome.error is not None
    assert "names block 3, but the model has 1 single blocks, numbered from 0" in outcome.error


def drawn_parts(**dropouts: float) -> tuple[torch.nn.Linear, torch.Tensor]:
    """A Linear with a LoRA, and its output: 8 where nothing is dropped, since the frozen part's output is 0."""
    given = options(
        *("--network_dropout", str(dropouts.get("number", 0.0)), "--network_args"),
        *(f"{name}_dropout={dropouts.get(name, 0.0)}" for name in ("rank", "module")),
    )
    transformer = tiny_transformer()
    linear = next(module for module in transformer.modules() if isinstance(module, torch.nn.Linear))
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    lora = network.build(given, transformer=transformer, clip=None, seed=0)
    ((_, part),) = lora.parts()
    torch.nn.init.ones_(part.down)
    torch.nn.init.ones_(part.up)
    part.scale = 0.5
    torch.manual_seed(1)
    x = torch.ones(400, 6, 4)
    expected = lora.eval() and linear(x)
    assert (expected == 8).all(), "nothing is left out of samples"
    lora.train()
    return linear, linear(x)


@torch.no_grad()
def test_dropout_leaves_numbers_out_and_keeps_the_mean() -> None:
    _, out = drawn_parts(number=0.25)
    assert out.mean().item() == pytest.approx(8, rel=0.03)
    # Each of 4 ranks is kept with probability 3/4, so the number of dropped ranks is binomial.
    assert (out == 0).double().mean().item() == pytest.approx(0.25**4, abs=0.01)
    assert sorted(out[..., 0].unique().tolist()) == pytest.approx([0, 8 / 3, 16 / 3, 8, 32 / 3])


@torch.no_grad()
def test_rank_dropout_is_one_draw_for_a_picture() -> None:
    _, out = drawn_parts(rank=0.25)
    assert (out == out[:, :1, :1]).all()
    assert len(out[:, 0, 0].unique()) > 2
    assert out.mean().item() == pytest.approx(8, rel=0.05)


@torch.no_grad()
def test_module_dropout_skips_the_layer_in_a_pass() -> None:
    linear, _ = drawn_parts(module=0.25)
    means = [linear(torch.ones(1, 4)).mean().item() for _ in range(400)]
    assert set(means) == {0.0, 8.0}
    assert means.count(0.0) / 400 == pytest.approx(0.25, abs=0.06)


@torch.no_grad()
def test_norms_are_limited_by_the_norm_of_the_product() -> None:
    lora = network.build(options(), transformer=tiny_transformer(), clip=None, seed=0)
    ((_, part),) = lora.parts()
    torch.nn.init.normal_(part.up)
    before = part.scale * part.up @ part.down
    lora.limit_norms(float(before.norm()) * 1.01)
    assert torch.allclose(part.scale * part.up @ part.down, before)
    lora.limit_norms(0.05)
    after = part.scale * part.up @ part.down
    assert after.norm().item() == pytest.approx(0.05)
    assert torch.allclose(after / after.norm(), before / before.norm(), atol=1e-6)


def test_a_training_can_start_from_a_lora(settings: Settings, tmp_path: Path) -> None:
    """The first LoRA has two ranks. The second run takes over its ranks and alphas, and hardly changes its weights at
    a rate of 1e-30."""
    short = "--max_train_epochs 1 --network_train_unet_only --network_alpha 3 --network_args single_dim=5"
    assert run(settings.plus(short, output="first")).error is None
    first = tmp_path / "first" / "lora.safetensors"
    begun = settings.plus(
        f"--max_train_epochs 1 --network_train_unet_only --network_weights {first} --dim_from_weights "
        "--learning_rate 1e-30",
        output="second",
    )
    assert run(begun).error is None
    one, other = (safetensors_file.load(path) for path in (first, tmp_path / "second" / "lora.safetensors"))
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[key], other[key]) for key in one)
    assert {tensor.shape[0] for key, tensor in one.items() if key.endswith("down.weight")} == {2, 5}

    misfit = run(settings.plus(f"--network_train_unet_only --network_alpha 3 --network_weights {first}"))
    assert misfit.error is not None
    assert "does not fit this run" in misfit.error
    other_keys = run(
        settings.plus(f"--network_train_unet_only --network_weights {settings.models.folder / 'ae.safetensors'}")
    )
    assert other_keys.error is not None
    assert "has no layer that this run trains" in other_keys.error
