# SPDX-License-Identifier: Apache-2.0
"""Tests of the disk space that a training needs, computed from headers with the shapes of FLUX.1-dev and CLIP-L."""

import json
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Model
from fluxgymd.store.formats.safetensors_header import NotSafetensors
from fluxgymd.trainers.planned_size import STATES_BESIDE, planned_bytes
from tests.core.histories import CONTEXT
from tests.store.files import with_header

WIDTH = 3072

DOUBLE = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH), "mlp.0": (4 * WIDTH, WIDTH)}
DOUBLE |= {"mlp.2": (WIDTH, 4 * WIDTH), "mod.lin": (6 * WIDTH, WIDTH)}
SINGLE = {"linear1": (7 * WIDTH, WIDTH), "linear2": (WIDTH, 5 * WIDTH), "modulation.lin": (3 * WIDTH, WIDTH)}

FLUX_PER_RANK = 4_786_176
"""Parameters of kohya's Flux LoRA per unit of rank, in 304 modules."""
CLIP_PER_RANK = 12 * (4 * (768 + 768) + 2 * (768 + 3072))


def flux_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "img_in.weight": (WIDTH, 64),
        "txt_in.weight": (WIDTH, 4096),
        "time_in.in_layer.weight": (WIDTH, 256),
        "final_layer.linear.weight": (64, WIDTH),
    }
    for block in range(19):
        for stream in ("img", "txt"):
            for name, shape in DOUBLE.items():
                part, _, layer = name.partition(".")
                shapes[f"double_blocks.{block}.{stream}_{part}.{layer}.weight"] = shape
                shapes[f"double_blocks.{block}.{stream}_{part}.{layer}.bias"] = shape[:1]
            shapes[f"double_blocks.{block}.{stream}_attn.norm.query_norm.scale"] = (128,)
    for block in range(38):
        for name, shape in SINGLE.items():
            shapes[f"single_blocks.{block}.{name}.weight"] = shape
            shapes[f"single_blocks.{block}.{name}.bias"] = shape[:1]
    return shapes


def clip_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "text_model.embeddings.token_embedding.weight": (49408, 768),
        "text_model.final_layer_norm.weight": (768,),
    }
    for layer in range(12):
        prefix = f"text_model.encoder.layers.{layer}"
        for name in ("q", "k", "v", "out"):
            shapes[f"{prefix}.self_attn.{name}_proj.weight"] = (768, 768)
        shapes[f"{prefix}.mlp.fc1.weight"] = (3072, 768)
        shapes[f"{prefix}.mlp.fc2.weight"] = (768, 3072)
        shapes[f"{prefix}.layer_norm1.weight"] = (768,)
    return shapes


def write(path: Path, shapes: dict[str, tuple[int, ...]], *, prefix: str = "") -> Path:
    """Writes a safetensors file with this header, and a hole in place of the tensors."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[prefix + name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = with_header(json.dumps(header).encode())
    with path.open("wb") as file:
        file.write(text)
        file.truncate(len(text) + end)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(
        transformer=str(write(tmp_path / "flux.sft", flux_shapes())),
        clip_l=str(write(tmp_path / "clip.safetensors", clip_shapes())),
    )


def context(model: Model, **values: object) -> Context:
    return msgspec.structs.replace(CONTEXT, model=model, **values)


def needed(parameters: int, *, saves: int, bytes_each: int = 2) -> int:
    """Returns the bytes of the states (fp32 weights and AdamW's two moments: 12 per parameter) and the LoRA files."""
    return parameters * 12 * (min(3, saves) + STATES_BESIDE) + parameters * bytes_each * saves


def test_a_lora_of_rank_4_with_clip(model: Model) -> None:
    assert planned_bytes(context(model)) == needed(4 * (FLUX_PER_RANK + CLIP_PER_RANK), saves=5)


@pytest.mark.parametrize("option", ["network_train_unet_only"])
def test_without_clip(model: Model, option: str) -> None:
    without = context(model, network_dim=16, trainer_options={option: []})
    assert planned_bytes(without) == needed(16 * FLUX_PER_RANK, saves=5)


@pytest.mark.parametrize(("epochs", "every", "saves"), [(16, 4, 5), (1, 4, 1), (10, 3, 4), (5, 5, 2)])
def test_each_saved_epoch_and_the_final_file_count(model: Model, epochs: int, every: int, saves: int) -> None:
    planned = planned_bytes(context(model, epochs=epochs, save_every_epochs=every))
    assert planned == needed(4 * (FLUX_PER_RANK + CLIP_PER_RANK), saves=saves)


def test_a_lora_in_float_is_twice_as_large(model: Model) -> None:
    planned = planned_bytes(context(model, trainer_options={"save_precision": ["float"]}))
    assert planned == needed(4 * (FLUX_PER_RANK + CLIP_PER_RANK), saves=5, bytes_each=4)


def test_the_file_names_of_a_complete_checkpoint_are_known(tmp_path: Path, model: Model) -> None:
    whole = write(tmp_path / "whole.sft", flux_shapes(), prefix="model.diffusion_model.")
    assert planned_bytes(context(msgspec.structs.replace(model, transformer=str(whole)))) == planned_bytes(
        context(model)
    )


def test_a_file_that_is_not_a_model_is_reported(tmp_path: Path, model: Model) -> None:
    (tmp_path / "flux.sft").write_bytes(b"<!DOCTYPE html><title>404</title>")
    with pytest.raises(NotSafetensors, match=r"^flux\.sft is not a safetensors file$"):
        planned_bytes(context(model))


def test_each_state_that_is_kept_needs_its_room(model: Model) -> None:
    few, more = (planned_bytes(msgspec.structs.replace(CONTEXT, model=model, keep_states=keep)) for keep in (1, 5))
    assert more - few == 4 * (FLUX_PER_RANK + CLIP_PER_RANK) * 4 * 12


def test_no_more_states_are_kept_than_saved(model: Model) -> None:
    five, all_of_them = (planned_bytes(context(model, keep_states=keep)) for keep in (5, 1000))
    assert five == all_of_them
