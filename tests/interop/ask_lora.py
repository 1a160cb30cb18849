# SPDX-License-Identifier: Apache-2.0
"""Computes the output of a Flux with a LoRA and without it, in the modules of kohya-ss/sd-scripts or in ours.

    PYTHON ask_lora.py CHECKOUT|sd-scripts FLUX LORA OUT     OUT: a safetensors file with `with` and `without`

The folder decides which modules are used; PYTHON must have their requirements. Both packages are called `library`, so
each needs its own process. Both get the same input and run the transformer alone, in fp32.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ROWS, COLUMNS, TOKENS = 4, 6, 7
PACKED_CHANNELS, TEXT_WIDTH, VECTOR_WIDTH = 64, 4096, 768


@torch.no_grad()
def main(modules: Path, flux: Path, lora: Path, out: Path) -> None:
    sys.path.insert(0, str(modules))
    theirs = (modules / "networks" / "lora_flux.py").is_file()
    model, put_on, told = upstream(flux, lora) if theirs else ours(flux, lora)
    without = ask(model, theirs=theirs)
    put_on()
    save_file({"with": ask(model, theirs=theirs), "without": without}, out)
    print(json.dumps(told))


def upstream(flux: Path, lora: Path) -> tuple[Any, Any, Any]:
    """Returns sd-scripts' Flux, a function that applies its LoRA network, and a dictionary that this function fills:
    the number of modules, and the missing and unexpected keys."""
    from networks import lora_flux

    from library import flux_utils

    _, model = flux_utils.load_flow_model(str(flux), torch.float32, "cpu")
    weights = {key: value.float() for key, value in load_file(lora).items() if key.startswith("lora_unet")}
    network, _ = lora_flux.create_network_from_weights(1.0, None, None, [], model, weights_sd=weights)
    told: dict[str, Any] = {"modules": len(network.unet_loras)}

    def put_on() -> None:
        network.apply_to([], model, apply_text_encoder=False, apply_unet=True)
        info = network.load_state_dict(weights, False)
        told.update(missing=info.missing_keys, unexpected=info.unexpected_keys)

    return model, put_on, told


def ours(flux: Path, lora: Path) -> tuple[Any, Any, Any]:
    from library.files import safetensors_header
    from library.flux import config as flux_config
    from library.flux import loading
    from library.lora.lora import LoRANetwork, sizes_in

    config = flux_config.read_config(safetensors_header.read_shapes(flux, "FLUX"))
    model = loading.load_transformer(flux, config, dtype=torch.float32, device=torch.device("cpu"))
    weights = {key: value for key, value in load_file(lora).items() if key.startswith("lora_unet")}
    told: dict[str, Any] = {}

    def put_on() -> None:
        network = LoRANetwork(transformer=model, clip=None, rank=1, alpha=1, seed=0, sizes=sizes_in(weights))
        network.load_kohya(weights, str(lora))
        told.update(modules=len(list(network.parts())), missing=[], unexpected=[])

    return model, put_on, told


def ask(model: Any, *, theirs: bool) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(1)
    img = torch.randn(1, ROWS * COLUMNS, PACKED_CHANNELS, generator=drawn)
    txt = torch.randn(1, TOKENS, TEXT_WIDTH, generator=drawn)
    vector = torch.randn(1, VECTOR_WIDTH, generator=drawn)
    img_ids = torch.zeros(ROWS, COLUMNS, 3)
    img_ids[..., 1] = torch.arange(ROWS)[:, None]
    img_ids[..., 2] = torch.arange(COLUMNS)
    img_ids = img_ids.reshape(-1, 3)
    t, guidance = torch.tensor([0.4]), torch.tensor([1.0])
    if not theirs:
        return model(img, img_ids, txt, vector, t, guidance)
    return model(
        img=img,
        img_ids=img_ids[None],
        txt=txt,
        txt_ids=torch.zeros(1, TOKENS, 3),
        timesteps=t,
        y=vector,
        guidance=guidance,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
