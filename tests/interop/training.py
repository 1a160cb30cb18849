# SPDX-License-Identifier: Apache-2.0
"""Runs our trainer or sd-scripts' with the same command line, whose flags both have."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.daemon.running import ROOT, TRAINER_PYTHON

NAME = "my-lora"
OUR_COMMAND = (TRAINER_PYTHON, ROOT / "sd-scripts" / "flux_train_network.py")
DEADLINE_SECONDS = 900.0
"""A bound for hangs. A step of a Flux at full width takes seconds on a CPU, or longer on a busy one."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A checkout of sd-scripts, and a Python that has its requirements."""

    path: Path
    python: Path

    @property
    def command(self) -> tuple[Path, Path]:
        return self.python, self.path / "flux_train_network.py"


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training's folder: pictures, output and logs. It gets its own copy of `pictures`, and so its own caches."""

    folder: Path
    model: Path
    pictures: Path

    def run(self, command: Sequence[str | Path], extra: str = "", *, output: str = "out") -> Path:
        """Trains, checks the exit status, and returns the output folder."""
        self._prepare()
        words = self.flags(output) + extra.split()
        environ = {key: value for key, value in os.environ.items() if not key.startswith("FLUXGYM_")}
        with self.log(output).open("wb") as log:
            ended = subprocess.run(
                [*command, *words],
                env=environ | {"OMP_NUM_THREADS": "2", "COLUMNS": "400"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=DEADLINE_SECONDS,
            )
        assert ended.returncode == 0, self.log(output).read_text(errors="replace")[-5000:]
        return self.folder / output

    def log(self, output: str = "out") -> Path:
        return self.folder / f"{output}.log"

    def caches(self) -> dict[str, tuple[int, bytes]]:
        """Returns the time in ns and the content of each cache."""
        found = sorted((self.folder / "pictures").glob("*.npz"))
        return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in found}

    def _prepare(self) -> None:
        if self.folder.exists():
            return
        self.folder.mkdir()
        shutil.copytree(self.pictures, self.folder / "pictures", ignore=shutil.ignore_patterns("*.npz"))
        (self.folder / "dataset.toml").write_text(
            "[general]\ncaption_extension = '.txt'\n[[datasets]]\nresolution = 64\nbatch_size = 1\n"
            f"[[datasets.subsets]]\nimage_dir = '{self.folder / 'pictures'}'\nnum_repeats = 1\n"
        )

    def flags(self, output: str) -> list[str]:
        """Returns FluxGym's flags for two epochs with a state each, but with 64 tokens, which takes less time."""
        model = self.model
        text = f"""
            --pretrained_model_name_or_path {model}/flux1-dev.safetensors --clip_l {model}/clip_l.safetensors
            --t5xxl {model}/t5xxl_fp16.safetensors --ae {model}/ae.safetensors
            --tokenizer_cache_dir {model}/tokenizers --dataset_config {self.folder}/dataset.toml
            --output_dir {self.folder / output} --output_name {NAME} --seed 42 --save_model_as safetensors
            --cache_latents_to_disk --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk
            --t5xxl_max_token_length 64 --max_data_loader_n_workers 1 --persistent_data_loader_workers
            --mixed_precision bf16 --sdpa --highvram --network_module networks.lora_flux --network_dim 4
            --optimizer_type adamw --learning_rate 1e-3 --max_train_epochs 2 --save_every_n_epochs 1 --save_state
            --timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw --guidance_scale 1
            --loss_type l2
        """
        return text.split()
