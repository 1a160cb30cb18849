# SPDX-License-Identifier: Apache-2.0
"""Writes a FLUX.1 that kohya-ss/sd-scripts can load: its fixed widths, one block of each kind, weights from a seed.

    PYTHON make_model.py SD_SCRIPTS OUT      run by the Python that has sd-scripts' requirements

The shapes come from the checkout's own classes. The 4.8 billion parameters of T5 are a hole in the file: zeros that
take no space on the disk, and give embeddings of zeros. The other parts are random.
"""

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

DTYPE = torch.bfloat16
BYTES = 2


def main(upstream: Path, out: Path) -> None:
    sys.path.insert(0, str(upstream))
    from library import flux_models, flux_utils

    spec = flux_models.configs[flux_utils.MODEL_NAME_DEV]
    spec.params.depth = spec.params.depth_single_blocks = 1
    out.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        flux = flux_models.Flux(spec.params)
        autoencoder = flux_models.AutoEncoder(spec.ae_params)
    write_random(out / "flux1-dev.safetensors", flux)
    write_random(out / "ae.safetensors", autoencoder)
    write_random(out / "clip_l.safetensors", flux_utils.load_clip_l(None, DTYPE, "cpu", state_dict={}))
    write_hole(out / "t5xxl_fp16.safetensors", flux_utils.load_t5xxl(None, DTYPE, "cpu", state_dict={}))


def write_random(path: Path, model: torch.nn.Module) -> None:
    """Writes random linear layers with gain 1, norms of 1, and biases of 0."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes_of(model).items():
        if len(shape) > 1:
            fan_in = torch.Size(shape[1:]).numel()
            drawn = torch.randn(shape, generator=generator, dtype=torch.float32) * fan_in**-0.5
        else:
            drawn = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        tensors[name] = drawn.to(DTYPE)
    save_file(tensors, path, metadata={"format": "pt"})


def write_hole(path: Path, model: torch.nn.Module) -> None:
    """Writes a file whose tensors are a hole, which reads as zeros."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes_of(model).items():
        begin, end = end, end + torch.Size(shape).numel() * BYTES
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def shapes_of(model: torch.nn.Module) -> Mapping[str, tuple[int, ...]]:
    """Returns the parameters' shapes. One that shares another's memory is left out, since a file holds it once."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
