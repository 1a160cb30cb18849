# SPDX-License-Identifier: Apache-2.0
"""Finds out what a file is that should have been a safetensors file with a certain model, for the error message.

No torch. Each answer is a clause that follows `PATH is` and says what to do; `of_keys` returns one that follows a
colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FIRST_BYTES = 512
GATED = "if the model requires a login or a licence, log in, accept the licence on its page, and download it again"
PICKLE = (
    "a PyTorch pickle (.ckpt, .pt, .bin), which is never read, because loading one can run arbitrary code; "
    "download the safetensors file, or convert this one to safetensors"
)
AGAIN = "copy or download it again"


# The usual name of each model's file.
USUAL = {
    "--pretrained_model_name_or_path": "flux1-dev.safetensors",
    "--clip_l": "clip_l.safetensors",
    "--t5xxl": "t5xxl_fp16.safetensors",
    "--ae": "ae.safetensors",
}


def of_folder(folder: Path, flag: str) -> str:
    """The clause about a folder that was given instead of the file of `flag`."""
    layout = "a folder in diffusers' layout" if (folder / "model_index.json").is_file() else "a folder"
    usual, files = USUAL.get(flag), sorted(folder.glob("*.safetensors"))
    wanted = [file for file in files if file.name == usual] or files
    if len(wanted) == 1:
        return f"{layout}; give the file in it: {wanted[0]}"
    return f"{layout}; give one file" + (f", such as {usual}" if usual else "")


def of_name(name: str) -> str | None:
    """The clause about an intact safetensors file whose name says that it is one part of a model; None for others."""
    found = re.search(r"-\d{5}-of-(\d{5})\.safetensors$", name)
    if found is None or int(found[1]) == 1:
        return None
    return f"one of {int(found[1])} parts of a model; download the model as one file"


def of_first_bytes(start: bytes) -> str:
    """The clause about a file that does not begin like a safetensors file. `start`: its first bytes."""
    if not start:
        return f"empty (0 bytes); {AGAIN}"
    if start.startswith(b"GGUF"):
        return (
            "a GGUF file, a format for inference only; download the same model as a safetensors file, in bf16 or fp8"
        )
    if start.startswith(b"\x80") or (start.startswith(b"PK") and b"data.pkl" in start):
        return PICKLE
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return f"a web page (HTML) that was saved in place of the model; {GATED}"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer to the model; run `git lfs pull` in its repository"
    if text.startswith((b'{"', b"access to model", b"invalid username", b"entry not found")):
        return f"a server's reply, {text[:60].decode('utf-8', 'replace')!r}, saved in place of the model; {GATED}"
    if start.startswith((b"PK", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")):
        return "a compressed archive; unpack it and give the safetensors file in it"
    return f"not a safetensors file; {AGAIN}, or give the model's safetensors file"


# (pattern of a key that only such a file has, what the file is). The first entry that matches counts.
CONTENTS = (
    (
        r"\.lora_(down|up|A|B)\.|\.hada_w1_a$|\.lokr_w1",
        "a LoRA, not a model; --network_weights takes one to start from",
    ),
    (r"^double_blocks\.0\.img_attn\.|^model\.diffusion_model\.double_blocks\.0\.img_attn\.", "a Flux transformer"),
    (r"^(transformer\.)?transformer_blocks\.0\.attn\.add_q_proj\.", "a transformer in diffusers' layout"),
    (r"^encoder\.block\.0\.layer\.0\.SelfAttention\.", "the T5 text encoder"),
    (r"conditioner\.embedders\.1\.", "an SDXL checkpoint"),
    (r"^model\.diffusion_model\.joint_blocks\.", "a Stable Diffusion 3 model"),
    (r"^model\.diffusion_model\.input_blocks\.", "a Stable Diffusion checkpoint"),
    (r"text_projection\.weight$|^text_model\.encoder\.layers\.31\.", "CLIP-G, or another CLIP that is not CLIP-L"),
    (r"^text_model\.encoder\.layers\.0\.", "a CLIP text encoder"),
    (r"^(encoder\.down_blocks|decoder\.up_blocks)\.", "an autoencoder in diffusers' layout"),
    (r"^(first_stage_model\.)?decoder\.up\.0\.", "an autoencoder"),
)


def of_keys(keys: Iterable[str], *, lacks: object) -> str:
    """The clause about an intact safetensors file with the wrong model. `lacks`: a key that the right one has."""
    listed = list(keys)
    if not listed:
        return "it has no tensors"
    what = next((what for pattern, what in CONTENTS if any(re.search(pattern, key) for key in listed)), None)
    return f"it lacks {lacks}" if what is None else f"it is {what}"
