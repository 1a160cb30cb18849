# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file, read without the tensors: 8 bytes of length, then JSON with offsets
(huggingface.co/docs/safetensors: Format). The file is whole if and only if it is as long as its header says.
"""

import struct
from pathlib import Path
from typing import Any

import msgspec

HEADER_LIMIT = 100 * 1024 * 1024
"""Bytes; the format's own limit."""


class NotSafetensors(ValueError):
    """The text says what is wrong with the file."""


def read(path: Path) -> dict[str, Any]:
    """The header: tensor name to dtype, shape and data_offsets. NotSafetensors or OSError."""
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
        header = msgspec.json.decode(text, type=dict[str, Any])
        header.pop("__metadata__", None)
        data = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (msgspec.MsgspecError, KeyError, TypeError, IndexError):
        raise NotSafetensors(f"{path.name} is not a safetensors file") from None
    if size != 8 + length + data:
        raise NotSafetensors(f"{path.name} has {size} bytes, but its header tells of {8 + length + data}")
    return header


def problem(path: Path) -> str | None:
    """One clause about what is wrong; None if the file is whole."""
    try:
        read(path)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except (OSError, NotSafetensors) as error:
        return str(error)
    return None
