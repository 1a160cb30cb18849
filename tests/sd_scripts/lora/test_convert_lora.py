# SPDX-License-Identifier: Apache-2.0
"""convert_lora.py against diffusers and PEFT: a converted LoRA has the same effect there as here, both ways."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from diffusers import FluxPipeline
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

import convert_lora
from library import atomic
from library.files import safetensors_file, safetensors_header
from library.files.hashes import lora_hashes
from library.flux import loading
from library.flux.config import FluxConfig, read_config
from library.lora import writing as lora_writing
from library.lora.lora import LoRANetwork, sizes_in
from library.lora.low_rank import LowRank
from library.lora.reading import read
from library.options.network_settings import NetworkSettings
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.flux.oracle import ask_oracle, build_oracle, inputs
from tests.sd_scripts.running import ROOT, Models

METADATA = {
    "ss_output_name": "mine",
    "ss_network_dim": "4",
    "modelspec.title": "mine",
    "ss_tag_frequency": '{"ü": 1}',
}
# Relative to outputs of about 1: the least change that a LoRA must make, and the most that the rounding of two
# libraries may differ by.
EFFECT, ROUNDING = 5e-3, 1e-6
IDS = torch.tensor([[0, 5, 9, 3], [0, 1, 2, 3]])


class Bench:
    """The tiny model as we load it and as diffusers loads it, and a CLIP."""

    def __init__(self, models: Models) -> None:
        self.path = models.folder / "flux1-dev.safetensors"
        self.config: FluxConfig = read_config(safetensors_header.read_shapes(self.path, ""))
        self.given = inputs(self.config)

    def ours(self) -> Any:
        return loading.load_transformer(self.path, self.config, dtype=torch.float32, device=torch.device("cpu"))

    def oracle(self) -> Any:
        return build_oracle(safetensors_file.load(self.path), self.config)

    def clip(self) -> Any:
        torch.manual_seed(3)
        config = CLIPTextConfig(
            vocab_size=10,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=0,
            eos_token_id=9,
        )
        return CLIPTextModel(config).eval()

    def ask(self, oracle: Any) -> Tensor:
        return ask_oracle(oracle, self.config, self.given)

    def ask_ours(self, lora: Path) -> tuple[Tensor, Tensor]:
        """The outputs of our model and CLIP with a LoRA in kohya's layout."""
        ours, clip = self.ours(), self.clip()
        tensors = load_file(lora)
        network = LoRANetwork(transformer=ours, clip=clip, rank=1, alpha=1, seed=0, sizes=sizes_in(tensors))
        network.load_kohya(tensors, "the LoRA")
        return ours(*self.given), clip(IDS).last_hidden_state


@pytest.fixture(scope="module")
def bench(models: Models) -> Bench:
    return Bench(models)


def write_trained(path: Path, bench: Bench, *, alpha: float, dtype: torch.dtype) -> Path:
    """Writes a file in kohya's layout as the trainer does, with no zero matrix, with CLIP-L, and with the layers
    before the blocks at other ranks."""
    settings = NetworkSettings(in_ranks=(2, 3, 2, 2, 2), part_ranks={"img_attn_dim": 6})
    network = LoRANetwork(transformer=bench.ours(), clip=bench.clip(), rank=4, alpha=alpha, seed=0, settings=settings)
    generator = torch.Generator().manual_seed(1)
    for _, part in network.parts():
        nn.init.normal_(part.up, std=0.3, generator=generator)
    tensors = network.kohya_tensors(dtype)
    metadata = dict(METADATA)
    metadata["sshs_model_hash"], metadata["sshs_legacy_hash"] = lora_hashes(tensors, metadata)
    safetensors_file.write(path, tensors, metadata)
    return path


def place(layout: str, folder: Path) -> Path:
    """Where a verb writes to: PEFT's layout is a folder."""
    return folder / ("there" if layout == "to-peft" else "there.safetensors")


def run(*words: str | Path) -> None:
    assert convert_lora.main([str(word) for word in words]) == 0


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def assert_files_equal(one: Path, other: Path) -> None:
    """Compares tensors bit for bit, their types, and the metadata."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert all(first[key].dtype == second[key].dtype and torch.equal(first[key], second[key]) for key in first)
    assert metadata_of(one) == metadata_of(other)


# ---- there and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["to-diffusers", "to-peft"])
def test_converting_there_and_back_gives_the_same_file(
    layout: str, dtype: torch.dtype, bench: Bench, tmp_path: Path
) -> None:
    """With alpha 2, ranks 2 and 4 scale by 1 and 1/2; ranks 3 and 6 scale by numbers that are not exact in binary."""
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=2, dtype=dtype)
    there = place(layout, tmp_path)
    run(layout, lora, there)
    run("to-kohya", there, tmp_path / "back.safetensors")
    if layout == "to-peft" or dtype == torch.bfloat16:
        assert_files_equal(tmp_path / "back.safetensors", lora)
        return
    before, after = read(lora).layers, read(tmp_path / "back.safetensors").layers
    assert before.keys() == after.keys()
    for name, layer in before.items():
        torch.testing.assert_close(product(after[name]), product(layer), rtol=1e-6, atol=1e-7)
        assert layer.rank in (3, 6) or torch.equal(after[name].up, layer.up)


def product(layer: LowRank) -> Tensor:
    return layer.alpha / layer.rank * (layer.up.double() @ layer.down.double())


def test_diffusers_and_peft_layouts_convert_into_each_other(bench: Bench, tmp_path: Path) -> None:
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=2, dtype=torch.bfloat16)
    run("to-diffusers", lora, tmp_path / "one.safetensors")
    run("to-peft", tmp_path / "one.safetensors", tmp_path / "peft")
    run("to-diffusers", tmp_path / "peft" / "adapter_model.safetensors", tmp_path / "other.safetensors")
    assert_files_equal(tmp_path / "one.safetensors", tmp_path / "other.safetensors")


def test_metadata_is_kept_and_hashes_match_the_tensors(bench: Bench, tmp_path: Path) -> None:
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=2, dtype=torch.bfloat16)
    run("to-diffusers", lora, tmp_path / "there.safetensors")
    there = metadata_of(tmp_path / "there.safetensors")
    assert METADATA.items() <= there.items()
    assert not [key for key in there if key.startswith("sshs_")]
    run("to-kohya", tmp_path / "there.safetensors", tmp_path / "back.safetensors")
    back = metadata_of(tmp_path / "back.safetensors")
    hashes = lora_hashes(load_file(tmp_path / "back.safetensors"), METADATA)
    assert back == METADATA | dict(zip(("sshs_model_hash", "sshs_legacy_hash"), hashes, strict=True))


# ---- the real libraries load what we write -------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1, 3])
@torch.no_grad()
def test_diffusers_loads_the_file_with_our_effect(alpha: int, bench: Bench, tmp_path: Path) -> None:
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=alpha, dtype=torch.float32)
    run("to-diffusers", lora, tmp_path / "there.safetensors")
    ours, our_text = bench.ask_ours(lora)

    read_by_it, alphas = FluxPipeline.lora_state_dict(str(tmp_path / "there.safetensors"), return_alphas=True)
    assert not alphas
    through_pipeline, clip = bench.oracle(), bench.clip()
    FluxPipeline.load_lora_into_transformer(read_by_it, network_alphas=alphas, transformer=through_pipeline)
    FluxPipeline.load_lora_into_text_encoder(read_by_it, network_alphas=alphas, text_encoder=clip)
    alone = bench.oracle()
    alone.load_lora_adapter(str(tmp_path), weight_name="there.safetensors")

    base = bench.ask(bench.oracle())
    for answer in (bench.ask(through_pipeline), bench.ask(alone)):
        assert (answer - base).abs().mean() > EFFECT
        torch.testing.assert_close(answer, ours, rtol=0, atol=ROUNDING)
    assert (our_text - bench.clip()(IDS).last_hidden_state).abs().mean() > EFFECT
    torch.testing.assert_close(clip(IDS).last_hidden_state, our_text, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("alpha", [1, 3])
@torch.no_grad()
def test_peft_loads_the_folder_with_our_effect(alpha: int, bench: Bench, tmp_path: Path) -> None:
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=alpha, dtype=torch.float32)
    run("to-peft", lora, tmp_path / "there")
    ours, our_text = bench.ask_ours(lora)
    transformer = PeftModel.from_pretrained(bench.oracle(), tmp_path / "there")
    clip = PeftModel.from_pretrained(bench.clip(), tmp_path / "there" / "text_encoder")
    torch.testing.assert_close(bench.ask(transformer), ours, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(clip(IDS).last_hidden_state, our_text, rtol=0, atol=ROUNDING)


# ---- we load what the real libraries write -------------------------------------------------------------------------

SPLIT = ["to_q", "to_k", "to_v", "proj_mlp"]
TRAINED: dict[str, dict[str, Any]] = {
    "q, k, v and MLP": {"r": 4, "lora_alpha": 2, "target_modules": SPLIT},
    "some of the members": {"r": 4, "lora_alpha": 3, "target_modules": ["to_q", "to_v", "ff.net.2"]},
    "by patterns": {
        "r": 4,
        "lora_alpha": 4,
        "target_modules": SPLIT,
        "rank_pattern": {"to_k": 2},
        "alpha_pattern": {"attn.to_q": 1, "^single_transformer_blocks.0.proj_mlp": 9},
    },
    "rank-stabilised": {"r": 4, "lora_alpha": 2, "target_modules": SPLIT, "use_rslora": True},
    "outside the blocks": {"r": 2, "lora_alpha": 2, "target_modules": ["x_embedder", "context_embedder"]},
}


def trained_by_peft(bench: Bench, name: str) -> Any:
    torch.manual_seed(0)
    adapted = get_peft_model(bench.oracle(), LoraConfig(**TRAINED[name]))
    for key, parameter in adapted.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(parameter, std=0.3)
    return adapted.eval()


def save_as_peft(adapted: Any, folder: Path) -> Path:
    adapted.save_pretrained(folder)
    return folder


def save_as_diffusers(adapted: Any, folder: Path) -> Path:
    """Saves as diffusers' training scripts do: names begin with `transformer.`; the LoraConfig is in the metadata."""
    config = adapted.peft_config["default"].to_dict()
    config["target_modules"] = sorted(config["target_modules"])
    FluxPipeline.save_lora_weights(
        folder,
        transformer_lora_layers={
            key.removeprefix("base_model.model."): value
            for key, value in peft.get_peft_model_state_dict(adapted).items()
        },
        transformer_lora_adapter_metadata={key: value for key, value in config.items() if _is_plain(value)},
    )
    return folder / "pytorch_lora_weights.safetensors"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | list | dict)


@pytest.mark.parametrize("save", [save_as_peft, save_as_diffusers])
@pytest.mark.parametrize("name", TRAINED)
@torch.no_grad()
def test_a_lora_trained_by_peft_has_its_effect_here(
    name: str, save: Callable[[Any, Path], Path], bench: Bench, tmp_path: Path
) -> None:
    adapted = trained_by_peft(bench, name)
    expected = bench.ask(adapted)
    assert (expected - bench.ask(bench.oracle())).abs().mean() > EFFECT
    run("to-kohya", save(adapted, tmp_path / "theirs"), tmp_path / "ours.safetensors")
    assert set(metadata_of(tmp_path / "ours.safetensors")) == {"sshs_model_hash", "sshs_legacy_hash"}
    answer, _ = bench.ask_ours(tmp_path / "ours.safetensors")
    torch.testing.assert_close(answer, expected, rtol=0, atol=ROUNDING)


@torch.no_grad()
def test_the_last_modulation_is_swapped(bench: Bench, tmp_path: Path) -> None:
    """The trainer does not train this layer, so the test adds the LoRA to the layer's weight itself."""
    torch.manual_seed(0)
    adapted = get_peft_model(bench.oracle(), LoraConfig(r=2, lora_alpha=2, target_modules=["norm_out.linear"]))
    nn.init.normal_(adapted.base_model.model.norm_out.linear.lora_B["default"].weight, std=0.3)
    run("to-kohya", save_as_peft(adapted.eval(), tmp_path / "theirs"), tmp_path / "ours.safetensors")
    ((name, layer),) = read(tmp_path / "ours.safetensors").layers.items()
    assert name == "lora_unet_final_layer_adaLN_modulation_1"
    ours = bench.ours()
    ours.final_layer.adaLN_modulation[1].weight += product(layer).float()
    torch.testing.assert_close(ours(*bench.given), bench.ask(adapted), rtol=0, atol=ROUNDING)
    run("to-diffusers", tmp_path / "ours.safetensors", tmp_path / "back.safetensors")
    assert torch.equal(
        load_file(tmp_path / "back.safetensors")["transformer.norm_out.linear.lora_B.weight"],
        load_file(tmp_path / "theirs" / "adapter_model.safetensors")[
            "base_model.model.norm_out.linear.lora_B.weight"
        ],
    )


# ---- inspect -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["to-diffusers", "to-peft"])
def test_inspect_shows_the_same_norms_in_each_layout(
    layout: str, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=2, dtype=torch.float32)
    there = place(layout, tmp_path)
    run(layout, lora, there)
    capsys.readouterr()
    reports = []
    for path in (lora, there):
        run("inspect", path, "--json")
        reports.append(json.loads(capsys.readouterr().out))
    kohya, other = reports
    assert [kohya["layout"], other["layout"]] == ["kohya", layout.removeprefix("to-")]
    assert kohya["modules"] == len(read(lora).layers)
    assert kohya["ranks"] == {"4": 23, "2": 6, "6": 2, "3": 2}
    assert kohya["alphas"] == {"2.0": 33}
    assert kohya["not_finite"] == []
    assert kohya["metadata"].items() >= METADATA.items()
    assert list(kohya["norms"]) == ["double 0", "single 0", "outside", "clip_l 0", "clip_l 1"]
    assert list(kohya["norms"]) == list(other["norms"])
    expected = sum(
        product(layer).square().sum() for name, layer in read(lora).layers.items() if "double_blocks_0" in name
    )
    assert kohya["norms"]["double 0"] == pytest.approx(float(expected) ** 0.5)
    assert list(kohya["norms"].values()) == pytest.approx(list(other["norms"].values()))


def test_inspect_shows_people_the_informative_metadata(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = write_trained(tmp_path / "lora.safetensors", bench, alpha=2, dtype=torch.bfloat16)
    tensors = load_file(lora)
    tensors["lora_unet_img_in.lora_up.weight"][0, 0] = torch.nan
    save_file(tensors, lora, METADATA)
    run("inspect", lora)
    told = capsys.readouterr().out.splitlines()
    assert "alpha    2" in told
    assert ["ss_output_name", "mine"] in [line.split() for line in told]
    assert "damaged  NaN or infinity in 1 modules, e.g. lora_unet_img_in" in told
    assert [line.split()[:2] for line in told if line.startswith(("double", "single"))] == [
        ["double", "0"],
        ["single", "0"],
    ]


# ---- layouts of other programs ------------------------------------------------------------------------------------


def as_bfl(key: str) -> str:
    """Renames a key as ComfyUI and ai-toolkit write it: the published model's names, kohya's with dots."""
    name, _, side = key.partition(".")
    for published in BFL_NAMES:
        if published.replace(".", "_") == name.removeprefix("lora_unet_"):
            name = f"diffusion_model.{published}"
    name = re.sub(
        r"lora_te1_text_model_encoder_layers_(\d+)_(self_attn|mlp)_(\w+)",
        r"text_encoders.clip_l.transformer.text_model.encoder.layers.\1.\2.\3",
        name,
    )
    return f"{name}.{side}".replace("lora_down", "lora_A").replace("lora_up", "lora_B")


def as_onetrainer(key: str) -> str:
    """Renames a key as OneTrainer writes it: diffusers' names with underscores, and kohya's for CLIP-L."""
    name, _, side = key.rpartition(".lora_")
    if name.startswith("text_encoder."):
        name = name.replace("text_encoder.", "lora_te1_", 1).replace(".", "_")
    else:
        name = "lora_" + name.replace(".", "_")
    return f"{name}.lora_{side}".replace("lora_A", "lora_down").replace("lora_B", "lora_up")


BFL_NAMES = [
    *(
        f"double_blocks.0.{side}_{part}"
        for side in ("img", "txt")
        for part in (
            "mod.lin",
            "attn.qkv",
            "attn.proj",
            "mlp.0",
            "mlp.2",
        )
    ),
    *(f"single_blocks.0.{part}" for part in ("modulation.lin", "linear1", "linear2")),
    *("img_in", "txt_in", "time_in.in_layer", "time_in.out_layer", "vector_in.in_layer", "vector_in.out_layer"),
    *("guidance_in.in_layer", "guidance_in.out_layer", "final_layer.linear", "final_layer.adaLN_modulation.1"),
]


@pytest.mark.parametrize("layout", ["bfl", "onetrainer"])
def test_loras_of_other_programs_are_converted_to_the_layout_of_kohya(
    layout: str, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prefixes alone do not tell layouts apart: BFL's was once taken for diffusers', and OneTrainer's for kohya's."""
    kohya, theirs = tmp_path / "kohya.safetensors", tmp_path / "theirs.safetensors"
    write_trained(kohya, bench, alpha=4, dtype=torch.float32)
    if layout == "bfl":
        tensors = {as_bfl(key): tensor for key, tensor in load_file(kohya).items()}
    else:
        run("to-diffusers", kohya, tmp_path / "diffusers.safetensors")
        tensors = {
            as_onetrainer(key): tensor for key, tensor in load_file(tmp_path / "diffusers.safetensors").items()
        }
    assert len(tensors) == len(set(tensors))
    save_file(tensors, theirs, {"modelspec.title": "theirs"})

    capsys.readouterr()
    run("inspect", theirs)
    assert f"layout   {layout}" in capsys.readouterr().out.splitlines()
    run("to-kohya", theirs, tmp_path / "back.safetensors")
    run("to-diffusers", theirs, tmp_path / "there.safetensors")
    for file in ("back", "there"):
        for name, layer in read(tmp_path / f"{file}.safetensors").layers.items():
            original = (read(kohya) if file == "back" else read(place_in_diffusers(kohya, tmp_path))).layers[name]
            assert torch.allclose(product(layer), product(original), atol=1e-6), name
    assert read(tmp_path / "back.safetensors").layers.keys() == read(kohya).layers.keys()
    assert metadata_of(tmp_path / "back.safetensors")["modelspec.title"] == "theirs"


def place_in_diffusers(kohya: Path, folder: Path) -> Path:
    there = folder / "expected.safetensors"
    run("to-diffusers", kohya, there, "--force")
    return there


def test_names_of_diffusers_after_the_prefix_of_comfyui_are_recognized(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(pair("diffusion_model.transformer_blocks.0.attn.to_q", ab=True), tmp_path / "in.safetensors")
    run("inspect", tmp_path / "in.safetensors")
    assert "layout   diffusers" in capsys.readouterr().out.splitlines()


# ---- bad input -----------------------------------------------------------------------------------------------------


def pair(name: str, *, rank: int = 2, inputs: int = 8, outputs: int = 8, ab: bool = False) -> dict[str, Tensor]:
    down, up = ("lora_A", "lora_B") if ab else ("lora_down", "lora_up")
    return {f"{name}.{down}.weight": torch.ones(rank, inputs), f"{name}.{up}.weight": torch.ones(outputs, rank)}


BAD = {
    "to-diffusers": [
        (
            pair("lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
            "lora_te3_encoder_block_0.* is not a layer of Flux",
        ),
        (
            pair("lora_unet_img_in") | pair("lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
            "lora_te3_encoder_block_0.* is not a layer of Flux",
        ),
        (pair("lora_unet_down_blocks_0_attn"), r"in\.safetensors is a LoRA for Stable Diffusion 1.5 or SDXL"),
        (
            pair("lora_unet_input_blocks_1_1_proj_in") | pair("lora_te1_text_model_encoder_layers_0_mlp_fc1"),
            r"in\.safetensors is a LoRA for SDXL; only LoRAs for Flux are supported",
        ),
        (pair("diffusion_model.joint_blocks.0.x_block.attn.qkv", ab=True), "is a LoRA for Stable Diffusion 3"),
        (
            pair("lora_unet_double_blocks_0_img_attn_qkv"),
            "qkv cannot be split: it has 8 outputs, but 3 members have 24",
        ),
        (
            pair("lora_unet_img_in") | {"lora_unet_img_in.dora_scale": torch.ones(1)},
            "dora_scale is not part of a plain LoRA",
        ),
        ({"double_blocks.0.img_attn.proj.weight": torch.ones(1)}, "is not part of a plain LoRA"),
        ({"lora_unet_img_in.lora_down.weight": torch.ones(2, 8)}, "lora_unet_img_in has no up matrix"),
        (
            pair("lora_unet_img_in") | {"lora_unet_img_in.lora_up.weight": torch.ones(8, 3)},
            r"an up matrix of shape \(8, 3\)",
        ),
        (
            {key: value.int() for key, value in pair("lora_unet_img_in").items()},
            "stores its matrices in integers",
        ),
        (pair("lora_unet_img_in", rank=0), r"a down matrix of shape \(0, 8\)"),
        ({}, "has no tensors"),
        (pair("transformer.x_embedder", ab=True), "is already in diffusers' layout"),
    ],
    "to-kohya": [
        (pair("unet.down_blocks.0.attn.to_q", ab=True), "is a LoRA for Stable Diffusion 1.5 or SDXL"),
        (
            pair("transformer.x_embedder", ab=True) | pair("transformer.y_embedder", ab=True),
            "y_embedder is not a layer of Flux or CLIP-L that kohya's layout supports",
        ),
        (pair("blocks.0.attn", ab=True), r"in\.safetensors is not a LoRA for Flux: blocks\.0\.attn is not a layer"),
        (
            pair("transformer.transformer_blocks.0.attn.to_q", outputs=9, ab=True),
            "img_attn_qkv cannot be fused: a member has 9 outputs instead of 8",
        ),
        (pair("lora_unet_img_in"), "is already in kohya's layout"),
    ],
}


@pytest.mark.parametrize(
    ("verb", "tensors", "sentence"), [(verb, *row) for verb, rows in BAD.items() for row in rows]
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    verb: str, tensors: dict[str, Tensor], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(tensors, tmp_path / "in.safetensors")
    assert convert_lora.main([verb, str(tmp_path / "in.safetensors"), str(tmp_path / "out.safetensors")]) == 1
    assert_refused(sentence, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def assert_refused(sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(told.err)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (None, "has no adapter_config.json"),
        ("{", "adapter_config.json is damaged"),
        ("[]", "it is not a JSON object"),
        ('{"peft_type": "LOHA"}', "peft_type is LOHA; only LORA is supported"),
        ('{"peft_type": "LORA", "use_dora": true}', "use_dora is not supported"),
    ],
)
def test_a_folder_that_is_not_a_plain_lora_is_refused(
    config: str | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(pair("base_model.model.x_embedder", ab=True), folder / "adapter_model.safetensors")
    if config is not None:
        (folder / "adapter_config.json").write_text(config)
    assert convert_lora.main(["to-kohya", str(folder), str(tmp_path / "out.safetensors")]) == 1
    assert_refused(sentence, capsys)


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora, out, folder = tmp_path / "in.safetensors", tmp_path / "out.safetensors", tmp_path / "adapter"
    save_file(pair("lora_unet_img_in"), lora)
    out.write_text("precious")
    assert convert_lora.main(["to-diffusers", str(lora), str(out)]) == 1
    assert_refused("already exists; --force replaces it", capsys)
    assert out.read_text() == "precious"
    run("to-diffusers", lora, out, "--force")
    assert read(out).layout == "diffusers"

    run("to-peft", lora, folder)
    run("to-peft", lora, folder, "--force")
    (folder / "notes.txt").write_text("precious")
    capsys.readouterr()
    assert convert_lora.main(["to-peft", str(lora), str(folder), "--force"]) == 1
    assert_refused(r"contains more than an adapter \(notes.txt\)", capsys)
    assert convert_lora.main(["to-diffusers", str(lora), str(tmp_path / "none" / "out.safetensors")]) == 1
    assert_refused("there is no folder", capsys)


@pytest.mark.parametrize(
    ("verb", "out", "sentence"),
    [
        ("to-diffusers", "out", "out must end in .safetensors"),
        ("to-diffusers", "out.pt", "out.pt must end in .safetensors"),
        ("to-kohya", "out.safetensor", "out.safetensor must end in .safetensors"),
        ("to-peft", "out.safetensors", "out.safetensors must be a folder"),
    ],
)
def test_a_name_that_no_program_would_load_is_refused(
    verb: str, out: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ab = verb == "to-kohya"
    save_file(pair("transformer.x_embedder" if ab else "lora_unet_img_in", ab=ab), tmp_path / "in.safetensors")
    for force in ([], ["--force"]):
        assert convert_lora.main([verb, str(tmp_path / "in.safetensors"), str(tmp_path / out), *force]) == 1
        assert_refused(sentence, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


@pytest.mark.parametrize(("verb", "out"), [("to-diffusers", "out.safetensors"), ("to-peft", "out")])
def test_a_full_disk_leaves_nothing(
    verb: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(pair("lora_unet_img_in"), tmp_path / "in.safetensors")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "fsync_path", full)
    assert convert_lora.main([verb, str(tmp_path / "in.safetensors"), str(tmp_path / out)]) == 1
    assert_refused("No space left on device", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    program = ROOT / "sd-scripts" / "convert_lora.py"
    missing = subprocess.run(
        [sys.executable, program, "inspect", tmp_path / "x"], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == f"error: LoRA: there is no file {tmp_path / 'x'}\n"
    assert (
        subprocess.run(
            [sys.executable, program, "to-lycoris"], capture_output=True, timeout=DEADLINE_SECONDS
        ).returncode
        == 2
    )


def test_a_reader_that_closes_early_is_not_an_error(bench: Bench, tmp_path: Path) -> None:
    lora = write_trained(tmp_path / "mine.safetensors", bench, alpha=4, dtype=torch.float32)
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, str(ROOT / "sd-scripts/convert_lora.py"), "inspect", str(lora)]
    ended = subprocess.run(
        program, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=DEADLINE_SECONDS
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_most_common_rank_and_alpha_become_the_defaults_of_peft() -> None:
    """A block's layer has a name that ends in `proj_out` too, and PEFT compares the ends of names."""
    layers = {
        "proj_out": LowRank(down=torch.ones(2, 8), up=torch.ones(8, 2), alpha=1.5),
        "single_transformer_blocks.0.proj_out": LowRank(down=torch.ones(4, 8), up=torch.ones(8, 4), alpha=4.0),
        "x_embedder": LowRank(down=torch.ones(4, 8), up=torch.ones(8, 4), alpha=4.0),
    }
    config = lora_writing.peft_config(layers)
    assert (config["r"], config["lora_alpha"]) == (4, 4)
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({"^proj_out": 2}, {"^proj_out": 1.5})
