# SPDX-License-Identifier: Apache-2.0
"""Files as a trainer leaves them: safetensors files and state folders."""

import json
import struct
from pathlib import Path
from typing import Any


def safetensors(shapes: dict[str, list[int]], *, metadata: dict[str, str] | None = None) -> bytes:
    """A complete file of float16 zeros (huggingface.co/docs/safetensors: Format)."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata is not None else {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return with_header(json.dumps(header).encode()) + bytes(end)


def with_header(text: bytes) -> bytes:
    """The header with its length before it, without tensors."""
    return struct.pack("<Q", len(text)) + text


LORA = safetensors({"a.lora_down.weight": [4, 8], "a.lora_up.weight": [8, 4]}, metadata={"ss_epoch": "4"})

RECORDED = Path(__file__).parent / "data"
"""Files that torch 2.13 and accelerate's `save_state` wrote for two parameters of 4 x 8 after one step on a CPU: the
state of AdamW, transformers' constant_with_warmup, and the random states. adafactor.bin is the same with
transformers' Adafactor."""
PICKLES = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl")


def write_state(
    folder: Path, *, epoch: int = 4, step: int = 40, ours: dict[str, Any] | None = None, weights: bytes = LORA
) -> Path:
    """Writes a complete state as sd-scripts does, or, if `ours` is added to its train_state.json, as our trainer
    does."""
    folder.mkdir(parents=True)
    state = {"current_epoch": epoch, "current_step": step} | (ours or {})
    (folder / "train_state.json").write_text(json.dumps(state))
    (folder / "model.safetensors").write_bytes(weights)
    for name in PICKLES:
        (folder / name).write_bytes((RECORDED / name).read_bytes())
    return folder


def our_state(folder: Path, *, epoch: int = 4, step: int = 40, steps_per_epoch: int = 10, **changes: Any) -> Path:
    """Writes a state as our trainer does (docs/trainer.md)."""
    own = {"format": "fluxgym-1", "total_steps": 160, "steps_per_epoch": steps_per_epoch, "seed": 42}
    return write_state(folder, epoch=epoch, step=step, ours=own, **changes)


BLOCKS = {
    "lora_unet_double_blocks_0_img_attn_qkv": (8, 24),
    "lora_unet_single_blocks_0_linear1": (8, 56),
}
CLIP = {"lora_te1_text_model_encoder_layers_0_mlp_fc1": (6, 12)}


def lora(modules: dict[str, tuple[int, int]], *, rank: int = 4, alpha: float = 4.0) -> bytes:
    """A LoRA in kohya's layout: float32 zeros. `modules`: (in, out) by key."""
    header: dict[str, Any] = {}
    data = b""
    for name, (inside, outside) in modules.items():
        tensors = {
            f"{name}.alpha": ([], struct.pack("<f", alpha)),
            f"{name}.lora_down.weight": ([rank, inside], bytes(4 * rank * inside)),
            f"{name}.lora_up.weight": ([outside, rank], bytes(4 * rank * outside)),
        }
        for key, (shape, numbers) in tensors.items():
            offsets = [len(data), len(data) + len(numbers)]
            header[key] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
            data += numbers
    return with_header(json.dumps(header).encode()) + data


def model(modules: dict[str, tuple[int, int]]) -> bytes:
    """A model whose linear layers fit such a LoRA, with the tensor names of black-forest-labs' and OpenAI's files."""
    named = {
        "lora_unet_double_blocks_0_img_attn_qkv": "double_blocks.0.img_attn.qkv.weight",
        "lora_unet_single_blocks_0_linear1": "single_blocks.0.linear1.weight",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1": "text_model.encoder.layers.0.mlp.fc1.weight",
    }
    return safetensors({named[name]: [outside, inside] for name, (inside, outside) in modules.items()})
