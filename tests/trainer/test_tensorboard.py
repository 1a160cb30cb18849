# SPDX-License-Identifier: Apache-2.0
"""--logging_dir leaves a file of TensorBoard's format. TensorBoard is not installed here, so its framing is read back
by these lines; docs/decisions/0047-tensorboard-events.md tells of the real one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from library import tensorboard
from library.tensorboard import Events, crc32c
from tests.trainer.in_process import run
from tests.trainer.running import Settings

Field = tuple[int, int | bytes]


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720, B.4 has more)
    assert crc32c(bytes(32)) == 0x8A9136AA


def records(data: bytes) -> Iterator[bytes]:
    """TFRecord, its checksums included."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        record, data = data[: length + 16], data[length + 16 :]
        assert tensorboard.record(record[12:-4]) == record
        yield record[12:-4]


def fields(message: bytes) -> Iterator[Field]:
    """Protobuf, of the four wire types."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, message[at : at + size]
        at += size


def scalars(data: bytes) -> list[tuple[int, dict[str, float]]]:
    """(step, values by tag) of each event after the first, which names the version."""
    first, *events = (dict(fields(record)) for record in records(data))
    assert first[3] == b"brain.Event:2"
    found = []
    for event in events:
        step, summary = event[2], event[5]
        assert isinstance(step, int)
        assert isinstance(summary, bytes)
        values = [dict(fields(value)) for _, value in fields(summary) if isinstance(value, bytes)]
        found.append((step, {_text(value[1]): struct.unpack("<f", _raw(value[2]))[0] for value in values}))
    return found


def _raw(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _text(value: int | bytes) -> str:
    return _raw(value).decode()


def test_a_training_logs_sd_scripts_tags(settings: Settings, tmp_path: Path) -> None:
    outcome = run(settings.plus(f"--logging_dir {tmp_path / 'log'} --log_prefix mine- --unet_lr 0.005"))
    assert outcome.error is None
    (file,) = (tmp_path / "log").glob("mine-20*/network_train/events.out.tfevents.*")
    found = scalars(file.read_bytes())
    steps = [(step, values) for step, values in found if "loss/current" in values]
    epochs = [(step, values) for step, values in found if "loss/epoch_average" in values]
    assert [step for step, _ in steps] == outcome.steps == list(range(1, 19))
    assert [step for step, _ in epochs] == [1, 2, 3]
    assert steps[0][1].keys() == {"loss/current", "loss/average", "lr/textencoder", "lr/unet"}
    assert steps[0][1]["lr/unet"] == pytest.approx(0.005)
    assert steps[0][1]["lr/textencoder"] == pytest.approx(0.01)
    assert steps[0][1]["loss/current"] == steps[0][1]["loss/average"] > 0


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    events = Events(tmp_path / "file" / "log")
    events.scalars({"loss": 1.0, "large": 1e300}, step=1)
    assert capsys.readouterr().err.count("warning: no events are written to --logging_dir") == 1
    Events(tmp_path / "log").scalars({"large": 1e300}, step=1)
    (file,) = (tmp_path / "log").iterdir()
    assert scalars(file.read_bytes()) == [(1, {"large": float("inf")})]
