# SPDX-License-Identifier: Apache-2.0
"""What a run leaves in --output_dir: LoRAs and states, each whole or not there, no more than asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors import SafetensorError

from library import atomic, names, safetensors_file
from library.ema import MovingAverage
from library.errors import TrainerError
from library.hashes import lora_hashes
from library.lora import LoRANetwork
from library.names import Moment
from library.options import Options

PRECISIONS = {None: torch.float32, "float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def prepare(options: Options) -> None:
    """Makes --output_dir. Raises TrainerError where it cannot be written, or where names in it would be too long."""
    folder = options.output_dir
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise TrainerError(f"--output_dir: {folder} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    longest = len(os.fsencode(names.average_name(options, Moment(step=0)) + ".tmp"))
    most = os.pathconf(folder, "PC_NAME_MAX")
    if longest > most:
        raise TrainerError(
            f"--output_name: files of it would have names of up to {longest} bytes, and {folder} takes {most}; "
            f"make it {longest - most} bytes shorter"
        )


class Output:
    """Saves by moments. `save_state_to` and `metadata_at` are given what only the loop knows; within
    `weights_in_use` the network has the weights that a LoRA is made of. Weights that are not finite are never saved,
    so that a good state is not made outdated by a bad one."""

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
        """The state (if asked for), then the LoRA, then what these make outdated goes."""
        if state:
            self.save_state(moment, step=step)
        self._save_lora(moment, step=step)
        self._remove_outdated(moment)

    def save_now(self, step: int) -> None:
        """State and LoRA that were asked for between two moments: they make nothing outdated."""
        self.save_state(Moment(step=step), step=step)
        self._save_lora(Moment(step=step), step=step)

    def save_state(self, moment: Moment, *, step: int) -> None:
        """Only the state."""
        self._check_weights(step)
        path = self._options.output_dir / names.state_name(self._options, moment)
        self._say(f"saving state: {path}")
        self._save_state_to(path, step)

    def _check_weights(self, step: int) -> None:
        if not self._network.is_finite():
            raise TrainerError(
                f"the loss was not finite up to step {step}, and the weights are not either: nothing is saved, and "
                "earlier states are whole; go on from one of them with a lower --learning_rate"
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
            raise TrainerError(f"{path} could not be saved: {error}; earlier files are whole") from error

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
