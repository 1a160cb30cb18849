# SPDX-License-Identifier: Apache-2.0
"""A step reads no number back from the device, which would make the program wait for it. On the CPU these
tests see each operation that would wait on a GPU; in on_gpu/test_no_waiting.py PyTorch itself looks for waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from library.train.stepper import Stepper
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Settings

# .item(), float(), bool(), `if tensor:`, and operations whose output size depends on numbers.
READS = {
    *("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal", "aten::nonzero"),
    *("aten::masked_select", "aten::_unique2", "aten::unique_consecutive"),
}


class Seen(TorchDispatchMode):
    """Records which operations of READS are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._schema.name in READS:
            self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Watches every micro-step and every optimizer step of a training."""
    watching = Seen()
    for name in ("micro_step", "add_up", "finish"):
        method = getattr(Stepper, name)

        def watched(*arguments: Any, _method: Any = method, **keywords: Any) -> Any:
            with watching:
                return _method(*arguments, **keywords)

        monkeypatch.setattr(Stepper, name, watched)
    return watching


def with_masks_and_regularisation(settings: Settings) -> Settings:
    """A partly transparent picture, and a folder of regularisation pictures."""
    picture = Image.open(settings.pictures / "0.png").convert("RGBA")
    picture.putalpha(128)
    picture.save(settings.pictures / "0.png")
    regular = settings.folder / "regular"
    regular.mkdir()
    for path in settings.pictures.iterdir():
        (regular / path.name).write_bytes(path.read_bytes())
    write_dataset(settings, regular)
    return settings


def write_dataset(settings: Settings, regular: Path) -> None:
    (settings.folder / "dataset.toml").write_text(
        "[general]\ncaption_extension = '.txt'\n[[datasets]]\nresolution = 64\n"
        f"[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\nalpha_mask = true\n"
        f"[[datasets.subsets]]\nimage_dir = '{regular}'\nis_reg = true\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        "--mixed_precision bf16 --gradient_checkpointing",
        (
            "--ema_decay 0.9 --scale_weight_norms 1 --prior_loss_weight 0.3 --gradient_accumulation_steps 2 "
            "--network_dropout 0.3 --network_args rank_dropout=0.3 module_dropout=0.5"
        ),
        "--loss_type huber --huber_schedule exponential --model_prediction_type sigma_scaled",
        (
            "--optimizer_type adafactor --optimizer_args relative_step=False scale_parameter=False warmup_init=False "
            "--max_grad_norm 0"
        ),
        "--optimizer_type AdamWScheduleFree",
    ],
)
def test_a_step_reads_nothing_back(words: str, settings: Settings, seen: Seen) -> None:
    outcome = run(with_masks_and_regularisation(settings).plus(words))
    assert (outcome.error, len(outcome.steps) > 0) == (None, True)
    assert seen.names == []


def test_a_read_is_detected(settings: Settings, seen: Seen) -> None:
    """Prodigy finds its rate on the host, in its own code."""
    assert run(settings.plus("--optimizer_type Prodigy --learning_rate 1")).error is None
    assert seen.names


def test_batches_for_a_gpu_are_moved_whole() -> None:
    """Each tensor of a batch is moved, and everything else stays."""
    from library.flow.batches import Batch, Position

    position = Position(epoch=0, batch=0, step=1)
    names = ("latents_BChw", "noise_BChw", "sigma_B", "is_reg_B")
    texts = {"hidden": torch.ones(1)}
    batch = Batch(position=position, texts=texts, mask_B1hw=None, **{name: torch.ones(1) for name in names})
    moved = batch.on(torch.device("meta"))
    assert {getattr(moved, name).device.type for name in names} == {"meta"}
    assert (moved.position, moved.mask_B1hw) == (position, None)
