# SPDX-License-Identifier: Apache-2.0
"""Reads and checks the header of a safetensors file without torch, before anything is loaded.

For any other file, the error says what the file is (`file_kinds`). Formats with fewer bits per number are recognised
here too, because their shapes alone look like those of a damaged model.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from library.errors import MissingFile, TrainerError
from library.files import file_kinds

MAXIMUM_HEADER_BYTES = 100_000_000
# Scaled fp8. ComfyUI's first format: X.weight with X.scale_weight (and X.scale_input, which only fp8 products need),
# and an empty tensor `scaled_fp8` as a marker. Its current format: X.weight_scale, X.input_scale, and the format's
# name as JSON in X.comfy_quant or in the file's metadata.
WEIGHT_SCALES = (".scale_weight", ".weight_scale")
QUANTISATION, COMFY_QUANT = "_quantization_metadata", ".comfy_quant"
SCALE_KEYS = (*WEIGHT_SCALES, ".scale_input", ".input_scale", COMFY_QUANT, "scaled_fp8")
FP8_FORMATS = {"float8_e4m3fn", "float8_e5m2"}
# Keys of other programs that describe how to decode a matrix, and the format that they belong to.
OTHER_FORMATS = (
    (r"\.quant_state\.bitsandbytes__(\w+)$", "bitsandbytes' {}"),
    (r"\.(?:absmax|quant_map)$", "bitsandbytes' 4 or 8 bits"),
    (r"\.(?:qweight|wscales|qzeros)$", "4-bit SVDQuant, AWQ or GPTQ"),
    (r"\.weight_scale_2$", "NVFP4"),
)
WHOLE_NUMBERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"}
WAY_OUT = "download the model in bf16, fp16 or fp8"

T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor's type (safetensors' name for it), its shape, and where its bytes begin and end in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_shapes(path: Path, flag: str) -> dict[str, tuple[int, ...]]:
    """Shapes by key, from the header alone.

    Raises TrainerError as `read` does.
    """
    return {key: tensor.shape for key, tensor in read(path, flag).items()}


def part(named: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The items whose names have the prefix, without it; all items if none has it. A file of a complete pipeline has
    other parts too."""
    chosen = {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
    return chosen or dict(named)


def read(path: Path, flag: str) -> dict[str, Tensor]:
    """The tensors by key.

    Raises TrainerError if the file is missing, is not a safetensors file, is shorter or longer than its header says,
    or holds matrices in a format that cannot be trained with. The message begins with `flag`.
    """
    if path.is_dir():
        raise _refused(path, flag, f"is {file_kinds.of_folder(path, flag)}")
    if not path.is_file():
        raise MissingFile(f"{flag}: there is no file {path}", path)
    if (only_a_part := file_kinds.of_name(path.name)) is not None:
        raise _refused(path, flag, f"is {only_a_part}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAXIMUM_HEADER_BYTES + 1
            if length > MAXIMUM_HEADER_BYTES or (text := file.read(1)) != b"{":
                file.seek(0)
                raise _refused(path, flag, f"is {file_kinds.of_first_bytes(file.read(file_kinds.FIRST_BYTES))}")
            text += file.read(length - 1)
    except OSError as error:
        raise _refused(path, flag, f"cannot be read: {error.strerror}") from error
    size = path.stat().st_size
    if len(text) < length:
        raise _damaged(path, flag, asked=8 + length, size=size)
    try:
        tensors, metadata = _parse(text, offset=8 + length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(path, flag, f"is damaged: its header is not JSON; {file_kinds.AGAIN}") from error
    except MemoryError as error:
        what = f"has a header of {length} bytes, which does not fit into memory; {file_kinds.AGAIN}"
        raise _refused(path, flag, what) from error
    end = max((tensor.end for tensor in tensors.values()), default=8 + length)
    if size != end:
        raise _damaged(path, flag, asked=end, size=size)
    if (form := _unknown_format(path, tensors, metadata)) is not None:
        raise _refused(path, flag, f"stores its matrices in {form}, which is not supported for training; {WAY_OUT}")
    return tensors


def _damaged(path: Path, flag: str, *, asked: int, size: int) -> TrainerError:
    what = f"is damaged: its header asks for {asked} bytes, but it has {size}; {file_kinds.AGAIN}"
    return _refused(path, flag, what)


def _refused(path: Path, flag: str, what: str) -> TrainerError:
    return TrainerError(f"{flag}: {path} {what}", path=path)


def _parse(text: bytes, *, offset: int) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    header = json.loads(text)
    metadata = header.pop("__metadata__", None)
    tensors = {
        key: Tensor(
            dtype=str(value["dtype"]),
            shape=tuple(map(int, value["shape"])),
            begin=offset + int(value["data_offsets"][0]),
            end=offset + int(value["data_offsets"][1]),
        )
        for key, value in header.items()
    }
    return tensors, metadata if isinstance(metadata, dict) else {}


def _unknown_format(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str | None:
    """The name of the format if the matrices are not floating-point numbers with at most one scale per matrix or row;
    otherwise None."""
    for pattern, name in OTHER_FORMATS:
        found = next((match for key in tensors if (match := re.search(pattern, key))), None)
        if found:
            return name.format(*found.groups())
    if formats := _named_formats(path, tensors, metadata) - FP8_FORMATS:
        return " and ".join(sorted(formats))
    for key, tensor in tensors.items():
        if key.endswith(".weight") and len(tensor.shape) == 2:
            if tensor.dtype in WHOLE_NUMBERS:
                return f"integers ({key} is {tensor.dtype})"
            scale = scale_of(key, tensors)
            if scale is not None and not _fits(tensors[scale], tensor):
                return f"blocks ({scale} is {tensors[scale].shape} for {tensor.shape[0]} rows)"
    return None


def _named_formats(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> set[str]:
    """The formats that ComfyUI has noted for the layers. A note that cannot be parsed counts as an unknown format."""
    notes = [note for note in [metadata.get(QUANTISATION)] if note is not None]
    with path.open("rb") as file:
        for key, tensor in tensors.items():
            if key.endswith(COMFY_QUANT):
                file.seek(tensor.begin)
                notes.append(file.read(tensor.end - tensor.begin).decode("utf-8", "replace"))
    found: set[str] = set()
    for note in notes:
        try:
            said = json.loads(note)
            layers = said["layers"].values() if "layers" in said else [said]
            found |= {str(layer["format"]) for layer in layers}
        except (ValueError, KeyError, TypeError, AttributeError):
            found.add("a format whose description cannot be read")
    return found


def scale_of(key: str, keys: Mapping[str, object]) -> str | None:
    """The key of a matrix's scale, if it has one: X.weight -> X.scale_weight or X.weight_scale."""
    if not key.endswith(".weight"):
        return None
    stem = key.removesuffix(".weight")
    return next((stem + scale for scale in WEIGHT_SCALES if stem + scale in keys), None)


def _fits(scale: Tensor, matrix: Tensor) -> bool:
    """Whether a scale is one number for the matrix or one for each row."""
    rows = matrix.shape[0]
    return scale.shape in ((), (1,), (1, 1), (rows,), (rows, 1))
