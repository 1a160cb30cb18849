# SPDX-License-Identifier: Apache-2.0
"""--logging_dir: a file of TensorBoard events, written without TensorBoard, whose package would weigh more than all
else that the trainer needs (docs/decisions/0047-tensorboard-events.md).

A file is TFRecord: per record its length (8 bytes), the length's masked CRC-32C, the bytes, their masked CRC-32C. A
record is the protobuf message tensorflow.Event. Each is one write to a file opened for appending, so that a reader
meets whole records, and a run that is killed leaves a file that can be read.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from library.options import Options

CASTAGNOLI = 0x82F63B78
MASK_DELTA = 0xA282EAD8


class Events:
    """Scalars of one run, in `FOLDER/events.out.tfevents.*`. Without a folder it does nothing, and a file that cannot
    be written is said once and never fails the training."""

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
        """`LOGGING_DIR/PREFIX20261123131507/network_train/`, as sd-scripts: each run has a folder of its own."""
        if options.logging_dir is None:
            return cls(None)
        date = time.strftime("%Y%m%d%H%M%S")
        return cls(options.logging_dir / f"{options.log_prefix or ''}{date}" / options.log_tracker_name)

    def step(self, step: int, *, loss: float, average: float, clip: float | None, unet: float) -> None:
        """sd-scripts' tags. `clip` and `unet` are learning rates; None: CLIP-L is not trained."""
        rates = {"lr/unet": unet} if clip is None else {"lr/textencoder": clip, "lr/unet": unet}
        self.scalars({"loss/current": loss, "loss/average": average, **rates}, step=step)

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
        print(f"warning: no events are written to --logging_dir: {error}", file=sys.stderr)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def record(message: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", _masked(length)) + message + struct.pack("<I", _masked(message))


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), reflected; "123456789" gives 0xE3069283."""
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
    """A value beyond a float's range is told as infinite."""
    try:
        return _varint(field << 3 | 5) + struct.pack("<f", value)
    except OverflowError:
        return _varint(field << 3 | 5) + struct.pack("<f", math.copysign(math.inf, value))
