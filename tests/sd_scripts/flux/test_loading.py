# SPDX-License-Identifier: Apache-2.0
"""The transformer is loaded tensor by tensor: its weights afterwards, and the memory that this takes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from library.compute import fp8
from library.errors import TrainerError
from library.files.safetensors_file import load
from library.files.safetensors_header import read_shapes
from library.flux import loading, model_files
from library.flux.config import FluxConfig, read_config
from library.flux.model import Flux
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.flux.fp8_files import as_read, in_fp8, in_scaled_fp8
from tests.sd_scripts.flux.oracle import inputs
from tests.sd_scripts.larger_file import larger_file
from tests.sd_scripts.running import ROOT, Models

__all__ = ["larger_file"]
CPU = torch.device("cpu")
Change = Callable[[dict[str, Tensor]], object]


@pytest.fixture(scope="module")
def flux_file(models: Models) -> Path:
    return models.folder / "flux1-dev.safetensors"


def config_of(path: Path) -> FluxConfig:
    return read_config(read_shapes(path, ""))


def changed(flux_file: Path, change: Change, folder: Path) -> Path:
    """A copy of the file in `folder`, with changed tensors."""
    tensors = load(flux_file)
    change(tensors)
    path = folder / "flux.safetensors"
    save_file(tensors, path)
    return path


def in_blocks(key: str, tensor: Tensor) -> bool:
    return key.partition(".")[0] in ("double_blocks", "single_blocks") and tensor.ndim == 2


def meant(flux: Flux) -> dict[str, Tensor]:
    """The numbers that a loaded transformer's tensors represent, in fp32, with scales multiplied in."""
    state = flux.state_dict()
    scales = {key: state.get(key.removesuffix("weight") + "scale_weight") for key in state}
    return {
        key: tensor.float() if (scale := scales[key]) is None else tensor.float() * scale[:, None]
        for key, tensor in state.items()
        if not key.endswith("scale_weight")
    }


@torch.no_grad()
def test_an_fp8_base_equals_the_file_except_for_rounding(flux_file: Path) -> None:
    original, config = load(flux_file), config_of(flux_file)
    flux = loading.load_transformer(flux_file, config, dtype=torch.bfloat16, device=CPU, base="fp8")
    state, means = flux.state_dict(), meant(flux)
    assert means.keys() == original.keys()
    for key, tensor in original.items():
        small = in_blocks(key, tensor)
        assert state[key].dtype == (fp8.TYPE if small else torch.bfloat16)
        if small:
            assert (means[key] - tensor).norm() <= 0.04 * tensor.norm(), key
        else:
            assert torch.equal(state[key], tensor.bfloat16()), key
    assert not any(parameter.requires_grad for parameter in flux.parameters())
    full = loading.load_transformer(flux_file, config, dtype=torch.float32, device=CPU)
    with torch.autocast("cpu", torch.bfloat16):
        answer, expected = flux(*inputs(config)), full(*inputs(config))
    assert (answer - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("convert", [in_fp8, in_scaled_fp8])
def test_a_file_in_fp8_is_not_rounded_twice(convert: object, flux_file: Path, tmp_path: Path) -> None:
    original = load(flux_file)
    assert callable(convert)
    stored: dict[str, Tensor] = convert({key: tensor.half() for key, tensor in original.items()})
    path = tmp_path / "flux1-dev-fp8.safetensors"
    save_file(stored, path)
    flux = loading.load_transformer(path, config_of(flux_file), dtype=torch.bfloat16, device=CPU, base="fp8")
    state, means, as_stored = flux.state_dict(), meant(flux), as_read(stored, original)
    for key, tensor in original.items():
        if stored[key].dtype == fp8.TYPE and in_blocks(key, tensor):
            assert torch.equal(state[key].view(torch.uint8), stored[key].view(torch.uint8)), key
            assert torch.equal(means[key], as_stored[key]), key
        elif not in_blocks(key, tensor):
            assert torch.equal(state[key], as_stored[key].bfloat16()), key


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensors: tensors.pop("img_in.bias"), "it lacks img_in.bias"),
        (lambda tensors: tensors.update({"img_in.other": torch.ones(1)}), "it has the unexpected key img_in.other"),
        (lambda tensors: tensors.update({"img_in.absmax": torch.ones(1)}), "matrices in bitsandbytes' 4 or 8 bits"),
        (
            lambda tensors: tensors.update({"img_in.bias": torch.ones(3)}),
            r"it has img_in.bias with shape \(3,\) instead of ",
        ),
    ],
)
def test_a_file_that_is_not_flux_is_refused_by_its_header(
    change: Change, sentence: str, flux_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainerError, match=sentence):
        model_files.read_transformer(changed(flux_file, change, tmp_path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensors: tensors.pop("img_in.bias"), "it lacks img_in.bias"),
        (lambda tensors: tensors.update({"img_in.other": torch.ones(1)}), "it has the unexpected key img_in.other"),
        (
            lambda tensors: tensors.update({"img_in.bias": torch.ones(64, dtype=torch.int8)}),
            r"contains integers \(img_in.bias is torch.int8\)",
        ),
        (
            lambda tensors: tensors.update({"img_in.bias": torch.ones(3)}),
            r"it has img_in.bias with shape \(3,\) instead of ",
        ),
    ],
)
@pytest.mark.parametrize("base", ["full", "fp8"])
def test_a_file_that_was_replaced_since_its_header_was_read_is_refused(
    base: str, change: Change, sentence: str, flux_file: Path, tmp_path: Path
) -> None:
    path = changed(flux_file, change, tmp_path)
    with pytest.raises(TrainerError, match=sentence):
        loading.load_transformer(path, config_of(flux_file), dtype=torch.float32, device=CPU, base=base)


def test_wrong_scales_are_refused_with_their_place(flux_file: Path, tmp_path: Path) -> None:
    stored = in_scaled_fp8(load(flux_file))
    stored["single_blocks.0.linear1.scale_weight"] = torch.ones(3)
    path = tmp_path / "flux.safetensors"
    save_file(stored, path)
    with pytest.raises(
        TrainerError, match=r"flux.safetensors .* \(single_blocks.0.linear1.scale_weight is \(3,\) for"
    ):
        model_files.read_transformer(path)
    with pytest.raises(TrainerError, match=r"flux.safetensors: single_blocks.0.linear1.weight has 3 scales for "):
        loading.load_transformer(path, config_of(flux_file), dtype=torch.bfloat16, device=CPU, base="fp8")


def test_each_tensor_stays_on_its_device(flux_file: Path) -> None:
    """With swapped blocks some weights are not on the device; `meta` stands for that other place here."""
    elsewhere = torch.device("meta")
    placed: list[str] = []

    def stays(key: str) -> torch.device:
        placed.append(key)
        return elsewhere if key == "single_blocks.0.linear1.weight" else CPU

    with pytest.raises(RuntimeError, match=r"single_blocks\.0\.linear1\.weight of Flux was never filled"):
        loading.load_transformer(
            flux_file, config_of(flux_file), dtype=torch.float32, device=CPU, base="fp8", stays=stays
        )
    assert set(placed) == set(load(flux_file))


# The child may use this much beyond the file's mapping: what it loads, and a few tensors. The kernel refuses more, so
# nothing has to be measured while it runs.
LOADS_WITHIN = """
import json, pathlib, resource, sys
import torch
from safetensors import safe_open
from library.flux import loading
from library.flux.config import FluxConfig

path, config, dtype, base, room = json.loads(sys.argv[1])
taken = lambda: 1024 * int(open("/proc/self/status").read().partition("VmData:")[2].split()[0])
warm = torch.ones(8, 8).bfloat16() @ torch.ones(8, 8).bfloat16()
before = taken()
with safe_open(path, "pt") as file:
    file.get_tensor("img_in.bias")
    mapped = taken() - before
limit = before + mapped + room
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
flux = loading.load_transformer(
    pathlib.Path(path), FluxConfig(**config), dtype=getattr(torch, dtype), device=torch.device("cpu"), base=base
)
print(sum(tensor.nbytes for tensor in flux.state_dict().values()))
"""
"""The child's code. RLIMIT_DATA limits anonymous memory, and private mappings that are writable."""


# Makes glibc return a tensor's memory when it is freed. Otherwise the holes in its heap differ from run to run, by
# half of all memory.
WITHOUT_HOLES = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}


@pytest.mark.parametrize(("base", "bytes_each"), [("full", 2), ("fp8", 1)])
def test_loading_needs_room_for_the_model_and_a_few_tensors_more(
    base: str, bytes_each: int, larger_file: tuple[Path, FluxConfig]
) -> None:
    path, config = larger_file
    shapes = read_shapes(path, "")
    numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
    largest = max(torch.Size(shape).numel() for shape in shapes.values())
    # One tensor in fp32 in transit, and 16 MB for scales, partly filled pages and other small things.
    room = numbers * bytes_each + 4 * largest + 16_000_000
    assert room < 1.25 * numbers * bytes_each
    given = json.dumps([str(path), dataclasses.asdict(config), "bfloat16", base, room])
    done = subprocess.run(
        [sys.executable, "-c", LOADS_WITHIN, given],
        cwd=ROOT / "sd-scripts",
        env=WITHOUT_HOLES,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= numbers * bytes_each
