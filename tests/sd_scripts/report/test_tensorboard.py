# SPDX-License-Identifier: Apache-2.0
"""--logging_dir leaves a file in TensorBoard's format. TensorBoard is not installed here, so the tests decode the
file themselves; docs/decisions/0047-tensorboard-events.md describes a check with the real one."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from library.flux.model import Flux, FluxConfig
from library.lora.lora import LoRANetwork
from library.lora.reading import read
from library.report import tensorboard
from library.report.tensorboard import Events, crc32c
from tests.sd_scripts.in_process import InProcessOutcome, run
from tests.sd_scripts.outcomes import assert_same_lora
from tests.sd_scripts.running import Settings

Field = tuple[int, int | bytes]
CONFIG = FluxConfig(
    packed_channels=64,
    vector_width=64,
    text_width=64,
    hidden=64,
    mlp_hidden=128,
    head_width=32,
    double_blocks=1,
    single_blocks=1,
    guidance=True,
)


def test_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720, B.4 has more)
    assert crc32c(bytes(32)) == 0x8A9136AA


def records(data: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file. Asserts that their checksums are right."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        record, data = data[: length + 16], data[length + 16 :]
        assert tensorboard.record(record[12:-4]) == record
        yield record[12:-4]


def fields(message: bytes) -> Iterator[Field]:
    """(number, value) of each field of a Protobuf message, for all four wire types."""
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


def logged(
    settings: Settings, words: str, folder: Path
) -> tuple[InProcessOutcome, list[tuple[int, dict[str, float]]]]:
    outcome = run(settings.plus(f"--logging_dir {folder} --log_prefix mine- {words}"))
    assert outcome.error is None
    (file,) = folder.glob("mine-20*/network_train/events.out.tfevents.*")
    return outcome, scalars(file.read_bytes())


def steps_of(found: list[tuple[int, dict[str, float]]]) -> list[dict[str, float]]:
    return [values for _, values in found if "loss/current" in values]


LOSSES = {"loss/current", "loss/average"}


def test_a_training_logs_sd_scripts_tags(settings: Settings, tmp_path: Path) -> None:
    outcome, found = logged(settings, "--unet_lr 0.005", tmp_path / "log")
    steps = [(step, values) for step, values in found if "loss/current" in values]
    epochs = [(step, values) for step, values in found if "loss/epoch_average" in values]
    assert [step for step, _ in steps] == outcome.steps == list(range(1, 19))
    assert [step for step, _ in epochs] == [1, 2, 3]
    rates = {"lr/textencoder 1 ": 0.01, "lr/textencoder": 0.01, "lr/unet": 0.005, "lr/group1": 0.005}
    assert steps[0][1].keys() == LOSSES | rates.keys() | {"norm/avg_grad_norm"}
    assert {tag: steps[0][1][tag] for tag in rates} == pytest.approx(rates)
    assert steps[0][1]["loss/current"] == steps[0][1]["loss/average"] > 0
    assert all(values["norm/avg_grad_norm"] > 0 for _, values in steps)


def test_each_group_has_the_tags_that_sd_scripts_gives_it(settings: Settings, tmp_path: Path) -> None:
    words = "--network_train_unet_only --network_args loraplus_lr_ratio=4 network_reg_lrs=single=0.002"
    _, found = logged(settings, words, tmp_path / "log")
    rates = {
        "lr/unet reg_lr_0": 0.002,
        "lr/unet reg_lr_0 plus": 0.008,
        "lr/unet": 0.01,
        "lr/unet plus": 0.04,
        "lr/group0": 0.002,
        "lr/group1": 0.008,
        "lr/group2": 0.01,
        "lr/group3": 0.04,
    }
    first = steps_of(found)[0]
    assert {tag: value for tag, value in first.items() if tag.startswith("lr/")} == pytest.approx(rates)


def test_the_rate_of_prodigy_is_the_factor_of_its_steps(settings: Settings, tmp_path: Path) -> None:
    words = "--network_train_unet_only --optimizer_type Prodigy --learning_rate 1 --lr_scheduler cosine"
    _, found = logged(settings, words, tmp_path / "log")
    for number, values in enumerate(steps_of(found), start=1):
        factor = (1 + math.cos(math.pi * number / 18)) / 2
        assert values["lr/group0"] == pytest.approx(factor, abs=1e-6)
        assert values["lr/unet"] == values["lr/d*lr/unet"] == values["lr/d*lr/group0"]
        # Prodigy begins with d = 1e-6 and only ever raises it.
        assert factor * 0.99e-6 <= values["lr/unet"] < 0.1 * factor + 1e-9


def test_norms_are_logged_after_they_were_limited(settings: Settings, tmp_path: Path) -> None:
    words = "--network_train_unet_only --scale_weight_norms 0.02 --learning_rate 0.01"
    _, found = logged(settings, words, tmp_path / "log")
    last = steps_of(found)[-1]
    assert last.keys() >= {"max_norm/keys_scaled", "max_norm/max_key_norm", "norm/avg_key_norm"}
    assert "norm/avg_grad_norm" not in last
    lora = {
        name: layer.squared_norm**0.5 for name, layer in read(settings.output_dir / "lora.safetensors").layers.items()
    }
    assert last["max_norm/max_key_norm"] == pytest.approx(max(lora.values())) == pytest.approx(0.02)
    assert last["norm/avg_key_norm"] == pytest.approx(sum(lora.values()) / len(lora))
    assert 1 <= last["max_norm/keys_scaled"] <= sum(norm > 0.0199 for norm in lora.values())


def test_the_norm_of_the_gradients_is_that_of_the_product() -> None:
    """By the definition, from the complete product, which the trainer never computes."""
    torch.manual_seed(0)
    transformer = Flux(CONFIG)
    network = LoRANetwork(transformer=transformer, clip=None, rank=3, alpha=1.5, seed=0)
    rows = []
    for _, part in network.parts():
        for parameter in (part.up, part.down):
            nn.init.normal_(parameter)
            parameter.grad = torch.randn_like(parameter)
        assert part.up.grad is not None
        assert part.down.grad is not None
        product = 0.5 * (part.up @ part.down.grad + part.up.grad @ part.down)
        rows.append(product.norm(dim=1).mean())
    found = network.gradient_norm()
    assert found is not None
    assert torch.allclose(found, torch.stack(rows).mean(), rtol=1e-4)
    network.zero_grad(set_to_none=True)
    assert network.gradient_norm() is None


def test_logging_changes_nothing_about_the_training(settings: Settings, tmp_path: Path) -> None:
    assert run(settings.plus("", output="plain")).error is None
    logged(settings, "", tmp_path / "log")
    assert_same_lora(tmp_path / "plain" / "lora.safetensors", settings.output_dir / "lora.safetensors")


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    events = Events(tmp_path / "file" / "log")
    events.scalars({"loss": 1.0, "large": 1e300}, step=1)
    assert capsys.readouterr().err.count("warning: cannot write events to --logging_dir") == 1
    Events(tmp_path / "log").scalars({"large": 1e300}, step=1)
    (file,) = (tmp_path / "log").iterdir()
    assert scalars(file.read_bytes()) == [(1, {"large": float("inf")})]
