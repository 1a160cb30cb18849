# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file, read without the tensors: 8 bytes of length, then JSON with offsets
(huggingface.co/docs/safetensors: Format). The file is whole if and only if it is as long as its header says.
"""

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fluxgymd.core.decoding import decode

HEADER_LIMIT = 100 * 1024 * 1024
"""Bytes; the format's own limit."""


class Tensor(msgspec.Struct, frozen=True):
    """What the header tells of one tensor."""

    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
    """Bytes, counted from the end of the header."""
    dtype: str = ""


class NotSafetensors(ValueError):
    """The text says what is wrong with the file."""


def read(path: Path) -> dict[str, Tensor]:
    """The tensors by name. NotSafetensors or OSError."""
    return _read(path)[0]


def metadata(path: Path) -> dict[str, str]:
    """The texts under `__metadata__`, of a whole file. NotSafetensors or OSError."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise NotSafetensors(f"{path.name} is too short to be a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > HEADER_LIMIT:
            raise NotSafetensors(f"{path.name} is not a safetensors file")
        text = file.read(length)
        size = file.seek(0, 2)
    try:
        header = decode(text, dict[str, Any])
        texts = header.pop("__metadata__", None)
        tensors = msgspec.convert(header, dict[str, Tensor])
    except msgspec.MsgspecError:
        raise NotSafetensors(f"{path.name} is not a safetensors file") from None
    data = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if size != 8 + length + data:
        raise NotSafetensors(f"{path.name} has {size} bytes, but its header tells of {8 + length + data}")
    texts = texts if isinstance(texts, dict) else {}
    return tensors, {key: text for key, text in texts.items() if isinstance(text, str)}


_SCALARS = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B"}


def scalar(file: BinaryIO, tensor: Tensor, data_start: int) -> float | None:
    """The value of a tensor with one number, such as a LoRA's alpha; None for a type that is not known here.

    `data_start`: where the header ends in the file.
    """
    begin, end = tensor.data_offsets
    data = os.pread(file.fileno(), min(end - begin, 8), data_start + begin)
    if tensor.dtype == "BF16" and len(data) == 2:
        return float(struct.unpack("<f", b"\0\0" + data)[0])  # the upper half of a float32
    form = _SCALARS.get(tensor.dtype)
    if form is None or len(data) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, data)[0])


def problem(path: Path) -> str | None:
    """One clause about what is wrong; None if the file is whole."""
    try:
        read(path)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except (OSError, NotSafetensors) as error:
        return str(error)
    return None
