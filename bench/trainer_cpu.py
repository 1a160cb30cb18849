# SPDX-License-Identifier: Apache-2.0
"""Our trainer and kohya-ss/sd-scripts' on the same Flux on the CPU, step by step in turns: times and losses.

    SD_SCRIPTS=~/sd-scripts .venv-trainer/bin/python bench/trainer_cpu.py

SD_SCRIPTS is a checkout, and SD_SCRIPTS_PYTHON a Python with its requirements (default: the checkout's
venv/bin/python). The Flux has random weights, with one block of each kind at full width (545 million parameters).
Both trainers run in fp32 with one thread and without CLIP-L, and get the same flags, start weights (none of them
zero), caches, order, noise and noise levels (`trainer_pair/`). It takes 8 GB of memory and five minutes. Results go
to bench/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAIR = ROOT / "bench" / "trainer_pair"
sys.path[:0] = [str(PAIR), str(ROOT / "sd-scripts")]

import numpy  # noqa: E402
import torch  # noqa: E402
from gate import PIPES  # noqa: E402
from PIL import Image  # noqa: E402

from library.files import safetensors_file, safetensors_header  # noqa: E402
from library.flux import config as flux_config  # noqa: E402
from library.flux import model as flux_model  # noqa: E402
from library.lora import lora  # noqa: E402
from library.options import trained_layers  # noqa: E402

RANK, ALPHA = 16, 8
SIDE, TEXT_TOKENS = 128, 64
CLIP_WIDTH, T5_WIDTH = 768, 4096
# Issue 5, item 6: the first loss is a plain forward pass. After it, each trainer's rounding has affected its weights.
FIRST_LOSS, LATER_LOSSES = 1e-5, 1e-3
COMPARED_LOSSES = 10
RATIO = 1.0
VARIANTS = {"all activations kept": (), "--gradient_checkpointing": ("--gradient_checkpointing",)}


# ---- what both trainers are given ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A checkout of sd-scripts, and the Python that has its requirements."""

    path: Path
    python: Path


def find_upstream() -> Upstream:
    named = os.environ.get("SD_SCRIPTS")
    if not named:
        sys.exit("set SD_SCRIPTS to a checkout of kohya-ss/sd-scripts; its Python is SD_SCRIPTS_PYTHON")
    path = Path(named).absolute()
    python = Path(os.environ.get("SD_SCRIPTS_PYTHON", path / "venv" / "bin" / "python")).absolute()
    for file, what in ((path / "flux_train_network.py", "SD_SCRIPTS"), (python, "SD_SCRIPTS_PYTHON")):
        if not file.is_file():
            sys.exit(f"{what}: {file} does not exist")
    return Upstream(path=path, python=python)


def make_model(upstream: Upstream, folder: Path) -> None:
    """Makes a Flux, a CLIP-L and an autoencoder with random weights, tokenizers that are never used, and a T5 whose
    file is a hole."""
    for command in (
        [sys.executable, ROOT / "sd-scripts" / "make_tiny_flux.py", folder],  # for the tokenizers
        [upstream.python, ROOT / "tests" / "interop" / "make_model.py", upstream.path, folder],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=900)


def make_pictures(folder: Path, count: int) -> None:
    """Makes pictures with captions and, beside them, sd-scripts' caches with random latents and embeddings."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        stem = folder / f"{index:02d}"
        Image.new("RGB", (SIDE, SIDE)).save(stem.with_suffix(".png"))
        stem.with_suffix(".txt").write_text("a picture\n")
        for source in (stem.with_suffix(".png"), stem.with_suffix(".txt")):
            os.utime(source, (0, 0))  # a cache is used only if it is newer
        _write_caches(stem, generator)


def _write_caches(stem: Path, generator: torch.Generator) -> None:
    def drawn(*shape: int) -> numpy.ndarray:
        return torch.randn(shape, generator=generator).numpy()

    suffix = f"_{SIDE // 8}x{SIDE // 8}"
    latents = {
        f"latents{suffix}": drawn(16, SIDE // 8, SIDE // 8),
        f"original_size{suffix}": numpy.array([SIDE, SIDE]),
        f"crop_ltrb{suffix}": numpy.array([0, 0, SIDE, SIDE]),
    }
    texts = {
        "l_pooled": drawn(CLIP_WIDTH),
        "t5_out": drawn(TEXT_TOKENS, T5_WIDTH),
        "txt_ids": numpy.zeros((TEXT_TOKENS, 3), dtype=numpy.float32),
        "t5_attn_mask": numpy.ones(TEXT_TOKENS, dtype=numpy.int64),
        "apply_t5_attn_mask": numpy.array(False),
    }
    numpy.savez(f"{stem}_{SIDE:04d}x{SIDE:04d}_flux.npz", **latents)  # type: ignore[arg-type]
    numpy.savez(f"{stem}_flux_te.npz", **texts)  # type: ignore[arg-type]


def make_start_weights(model: Path, path: Path) -> None:
    """Writes a LoRA without zeros, whose output is as large as that of the frozen layers. So the first loss already
    shows whether both trainers apply it in the same way."""
    with torch.device("meta"):
        flux = flux_model.Flux(flux_config.read_config(safetensors_header.read_shapes(model, "model")))
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for name, linear in lora.find_linears(flux, trained_layers.TRANSFORMER_PREFIX, trained_layers.in_blocks):
        down = torch.randn(RANK, linear.in_features, generator=generator) * linear.in_features**-0.5
        tensors[f"{name}.lora_down.weight"] = down
        tensors[f"{name}.lora_up.weight"] = (
            torch.randn(linear.out_features, RANK, generator=generator) * RANK**0.5 / ALPHA
        )
        tensors[f"{name}.alpha"] = torch.tensor(float(ALPHA))
    safetensors_file.write(path, tensors, {"format": "pt"})


def flags(folder: Path, output: Path) -> list[str]:
    """The command line of both trainers."""
    model = folder / "model"
    text = f"""
        --pretrained_model_name_or_path {model}/flux1-dev.safetensors --clip_l {model}/clip_l.safetensors
        --t5xxl {model}/t5xxl_fp16.safetensors --ae {model}/ae.safetensors --tokenizer_cache_dir {model}/tokenizers
        --dataset_config {folder}/dataset.toml --output_dir {output} --output_name x --seed 42
        --cache_latents_to_disk --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk
        --t5xxl_max_token_length {TEXT_TOKENS} --max_data_loader_n_workers 1 --persistent_data_loader_workers
        --mixed_precision no --sdpa --highvram --network_module networks.lora_flux --network_train_unet_only
        --network_dim {RANK} --network_alpha {ALPHA} --network_weights {folder}/start.safetensors
        --optimizer_type adamw --learning_rate 1e-3 --max_grad_norm 1.0 --max_train_epochs 1
        --timestep_sampling uniform --model_prediction_type raw --guidance_scale 1 --loss_type l2
    """
    return text.split()


# ---- two trainers, in turns ----------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Trainer:
    """A running trainer, and what it has reported: a time for each step but the last, and the losses."""

    name: str
    process: subprocess.Popen[bytes]
    told: Iterator[str]
    turns: int
    log: Path
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def let_go(self) -> None:
        """Lets the trainer do one step, and waits until it is about to begin the next one."""
        os.write(self.turns, b".")
        self.await_turn()

    def await_turn(self) -> None:
        """Waits until the trainer waits for its turn, or closes the pipe because it is done."""
        for line in self.told:
            said: dict[str, Any] = json.loads(line)
            if "loss" in said:
                self.losses.append(said["loss"])
                continue
            if said["seconds"] is not None:
                self.seconds.append(said["seconds"])
                self.cpu_seconds.append(said["cpu_seconds"])
            return
        if status := self.process.wait(timeout=60):
            sys.exit(f"{self.name} ended with {status}; the end of its output is:\n{self.log.read_text()[-3000:]}")


@contextmanager
def started(name: str, command: Sequence[str | Path], log: Path) -> Iterator[Trainer]:
    """Starts a trainer, which is about to begin its first step. It is killed when the block is left."""
    told, tell = os.pipe()
    turn, turns = os.pipe()
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", PIPES: f"{tell},{turn}"}
    with log.open("wb") as output, os.fdopen(told) as lines:
        process = subprocess.Popen(
            command,
            env=environ,
            pass_fds=(tell, turn),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        os.close(tell)
        os.close(turn)
        try:
            trainer = Trainer(name=name, process=process, told=iter(lines), turns=turns, log=log)
            trainer.await_turn()
            yield trainer
        finally:
            os.close(turns)
            process.kill()
            process.wait(timeout=60)


def race(folder: Path, upstream: Upstream, *, steps: int, extra: Sequence[str]) -> dict[str, Any]:
    """Runs both trainers over the same steps, in turns. The one that goes first alternates."""
    draws = folder / "draws.pt"
    ours = [sys.executable, PAIR / "ours.py", draws, *flags(folder, folder / "ours"), *extra]
    theirs = [upstream.python, PAIR / "upstream.py", upstream.path, draws, *flags(folder, folder / "theirs"), *extra]
    with (
        started("our trainer", ours, folder / "ours.log") as first,
        started("sd-scripts", theirs, folder / "theirs.log") as second,
    ):
        for step in range(steps):
            for trainer in (first, second) if step % 2 else (second, first):
                trainer.let_go()
        return compared(first, second)


def compared(ours: Trainer, theirs: Trainer) -> dict[str, Any]:
    """The times of all steps but the first, which is not warm, and the losses of all steps."""
    found: dict[str, Any] = {"steps": len(ours.losses)}
    for name in ("seconds", "cpu_seconds"):
        pairs = list(zip(getattr(ours, name)[1:], getattr(theirs, name)[1:], strict=True))
        found[name] = {
            "ours": round(statistics.median(pair[0] for pair in pairs), 4),
            "sd-scripts": round(statistics.median(pair[1] for pair in pairs), 4),
            "ratio": round(statistics.median(pair[0] / pair[1] for pair in pairs), 3),
            "pairs": [[round(value, 4) for value in pair] for pair in pairs],
        }
    found["losses"] = [[own, other] for own, other in zip(ours.losses, theirs.losses, strict=True)]
    found["loss_differences"] = [abs(own - other) / other for own, other in found["losses"]]
    return found


# ---- results -------------------------------------------------------------------------------------------------------


def goals(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Each goal of issue 5, item 6, the figure, and whether the goal is met."""
    rows = []
    for variant in VARIANTS:
        one = found[variant]
        first, *later = one["loss_differences"][:COMPARED_LOSSES]
        ratio = one["seconds"]["ratio"]
        rows += [
            (f"{variant}: step time at most sd-scripts'", f"{ratio} times", ratio <= RATIO),
            (f"{variant}: first loss within {FIRST_LOSS:g}", f"{first:.1e}", first <= FIRST_LOSS),
            (f"{variant}: losses 2 to 10 within {LATER_LOSSES:g}", f"{max(later):.1e}", max(later) <= LATER_LOSSES),
        ]
    return rows


def machine(upstream: Upstream) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sd-scripts": _output(["git", "-C", upstream.path, "rev-parse", "--short", "HEAD"]),
        "torch of sd-scripts": _output([upstream.python, "-c", "import torch; print(torch.__version__)"]),
    }


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12, help=f"steps, at least {COMPARED_LOSSES} (default 12)")
    arguments = parser.parse_args()
    if arguments.steps < COMPARED_LOSSES:
        parser.error(f"--steps {arguments.steps}: must be at least {COMPARED_LOSSES}, the number of compared losses")
    upstream = find_upstream()
    found: dict[str, Any] = {"machine": machine(upstream)}
    with tempfile.TemporaryDirectory(prefix="fg-bench-", dir="/var/tmp") as place:
        folder = Path(place)
        make_model(upstream, folder / "model")
        make_pictures(folder / "pictures", arguments.steps)
        make_start_weights(folder / "model" / "flux1-dev.safetensors", folder / "start.safetensors")
        (folder / "dataset.toml").write_text(
            f"[[datasets]]\nresolution = {SIDE}\nbatch_size = 1\n[[datasets.subsets]]\n"
            f'image_dir = "{place}/pictures"\ncaption_extension = ".txt"\n'
        )
        for variant, extra in VARIANTS.items():
            found[variant] = race(folder, upstream, steps=arguments.steps, extra=extra)
            print(f"{variant}: {json.dumps(found[variant]['seconds'])}", flush=True)
    file = ROOT / "bench" / "results" / f"trainer_cpu-{datetime.now(UTC):%Y-%m-%d}.json"
    file.write_text(json.dumps(found, indent=2) + "\n")
    missed = 0
    for goal, value, met in goals(found):
        missed += not met
        print(f"{'met   ' if met else 'MISSED'} {goal}: {value}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
