# SPDX-License-Identifier: Apache-2.0
"""Writes a run's LoRAs and states to --output_dir, each completely or not at all, and removes outdated ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors import SafetensorError

from library import atomic
from library.errors import TrainerError
from library.files import safetensors_file
from library.files.hashes import lora_hashes
from library.lora.lora import LoRANetwork
from library.optim.ema import MovingAverage
from library.options.options import Options
from library.output import names, output_check
from library.output.names import Moment
from library.report.not_finite import NotFinite

PRECISIONS = {None: torch.float32, "float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def prepare(options: Options) -> None:
    """Creates --output_dir. Raises TrainerError if it cannot be written."""
    folder = options.output_dir
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise output_check.cannot_be_written(options, error.errno) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


class Output:
    """Saves at moments. `save_state_to(path, step)` and `metadata_at(step)` add what only the loop knows; within
    `weights_in_use()` the network has the weights to save as a LoRA. Weights that are not finite are never saved, so
    that a bad state does not make a good one outdated."""

    def __init__(
        self,
        *,
        options: Options,
        network: LoRANetwork,
        metadata_at: Callable[[int], dict[str, str]],
        save_state_to: Callable[[Path, int], None],
        weights_in_use: Callable[[], AbstractContextManager[None]],
        average: MovingAverage | None,
        say: Callable[[str], None],
    ) -> None:
        self._options, self._network = options, network
        self._metadata_at, self._save_state_to, self._say = metadata_at, save_state_to, say
        self._weights_in_use, self._average = weights_in_use, average

    def save(self, moment: Moment, *, step: int, state: bool) -> None:
        """Saves the state (if `state`), then the LoRA, and then removes what these make outdated."""
        if state:
            self.save_state(moment, step=step)
        self._save_lora(moment, step=step)
        self._remove_outdated(moment)

    def save_now(self, step: int) -> None:
        """Saves state and LoRA on request (SIGUSR1), after any step. They make nothing outdated."""
        self.save_state(Moment(step=step), step=step)
        self._save_lora(Moment(step=step), step=step)

    def save_state(self, moment: Moment, *, step: int) -> None:
        """Saves only the state."""
        self._check_weights(step)
        path = self._options.output_dir / names.state_name(self._options, moment)
        self._say(f"saving state: {path}")
        self._save_state_to(path, step)

    def _check_weights(self, step: int) -> None:
        if not self._network.is_finite():
            raise NotFinite(
                f"the loss was not finite up to step {step}, and neither are the weights, so nothing is saved; "
                "earlier states are intact: resume from one of them with a lower --learning_rate"
            )

    def _save_lora(self, moment: Moment, *, step: int) -> None:
        self._check_weights(step)
        folder = self._options.output_dir
        if self._average is not None:
            with self._average.in_network():
                self._write_lora(folder / names.average_name(self._options, moment), step=step)
        with self._weights_in_use():
            self._write_lora(folder / names.lora_name(self._options, moment), step=step)

    def _write_lora(self, path: Path, *, step: int) -> None:
        self._say(f"\nsaving checkpoint: {path}")
        tensors = self._network.kohya_tensors(PRECISIONS[self._options.save_precision])
        metadata = self._metadata_at(step)
        metadata["sshs_model_hash"], metadata["sshs_legacy_hash"] = lora_hashes(tensors, metadata)
        try:
            atomic.write_file(path, lambda part: safetensors_file.write(part, tensors, metadata))
        except (OSError, SafetensorError) as error:
            raise TrainerError(f"{path} could not be saved: {error}; earlier files are intact") from error

    def _remove_outdated(self, moment: Moment) -> None:
        old_lora = names.outdated(self._options, moment, state=False)
        if old_lora:
            for name in (names.lora_name(self._options, old_lora), names.average_name(self._options, old_lora)):
                path = self._options.output_dir / name
                if path.exists():
                    self._say(f"removing old checkpoint: {path}")
                    path.unlink()
        old_state = names.outdated(self._options, moment, state=True)
        if old_state:
            path = self._options.output_dir / names.state_name(self._options, old_state)
            if atomic.existing_directory(path):
                self._say(f"removing old state: {path}")
                atomic.remove_directory(path)
