# SPDX-License-Identifier: Apache-2.0
"""--logging_dir: writes a file of TensorBoard events without TensorBoard's package
(docs/decisions/0047-tensorboard-events.md).

The format is TFRecord: for each record its length (8 bytes), the length's masked CRC-32C, the bytes, and their masked
CRC-32C. A record is the protobuf message tensorflow.Event. Each record is one write to a file opened for appending,
so that readers see complete records, and the file of a killed run can be read.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from torch import Tensor

from library.findings import warn
from library.options.options import Options

CASTAGNOLI = 0x82F63B78
MASK_DELTA = 0xA282EAD8


class Events:
    """Writes the scalars of one run to `FOLDER/events.out.tfevents.*`. If `folder` is None, it does nothing. If the
    file cannot be written, it warns once, and the training continues."""

    def __init__(self, folder: Path | None) -> None:
        self._descriptor: int | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.0"
            self._descriptor = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self._give_up(error)
        self._write(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))

    @classmethod
    def of(cls, options: Options) -> Self:
        """Events in `LOGGING_DIR/PREFIX20261123131507/network_train/`, a new folder for each run as in sd-scripts."""
        if options.logging_dir is None:
            return cls(None)
        date = time.strftime("%Y%m%d%H%M%S")
        return cls(options.logging_dir / f"{options.log_prefix or ''}{date}" / options.log_tracker_name)

    def scalars(self, values: Mapping[str, float], *, step: int) -> None:
        summary = b"".join(_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in values.items())
        self._write(_double(1, time.time()) + _integer(2, step) + _bytes(5, summary))

    def _write(self, message: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, record(message))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        warn(f"cannot write events to --logging_dir: {error}")
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def norm_tags(norms: Tensor | None, *, maximum: float | None, gradient: Tensor | None) -> dict[str, Tensor]:
    """Scalars of a step by sd-scripts' tags, on the device. `norms`: those of all parts before --scale_weight_norms
    limited them to `maximum`; `gradient`: the mean gradient norm, used without that flag."""
    if norms is not None and maximum:
        limited = norms.clamp(max=maximum)
        return {
            "max_norm/keys_scaled": (norms > maximum).sum(),
            "max_norm/max_key_norm": limited.max(),
            "norm/avg_key_norm": limited.mean(),
        }
    return {} if gradient is None else {"norm/avg_grad_norm": gradient}


def record(message: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", _masked(length)) + message + struct.pack("<I", _masked(message))


def crc32c(data: bytes) -> int:
    """The reflected CRC-32C (Castagnoli); b"123456789" gives 0xE3069283."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (CASTAGNOLI if value & 1 else 0)
    return value


_TABLE = tuple(_table_entry(value) for value in range(256))


def _masked(data: bytes) -> int:
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + MASK_DELTA) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    """A field of 32 bits. A value beyond the range of a 32-bit float becomes infinite."""
    try:
        return _varint(field << 3 | 5) + struct.pack("<f", value)
    except OverflowError:
        return _varint(field << 3 | 5) + struct.pack("<f", math.copysign(math.inf, value))
