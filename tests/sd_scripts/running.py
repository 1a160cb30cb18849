# SPDX-License-Identifier: Apache-2.0
"""Runs the real trainer as a program and follows its progress through a pipe, so that no test has to sleep."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from PIL import Image, ImageDraw

from tests.harness.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "sd-scripts" / "flux_train_network.py"
COLOURS = ("red", "lime", "blue", "yellow", "cyan", "magenta")
Line = dict[str, Any]


@contextlib.contextmanager
def temporary_directory() -> Iterator[None]:
    """A temporary directory that is deleted with all that multiprocessing and torchrun leave in it, even when killed.

    The daemon does the same for an attempt. The path is short, because the paths of sockets contain it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fg-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@dataclasses.dataclass(frozen=True, kw_only=True)
class Models:
    """The folder of a tiny Flux."""

    folder: Path

    def arguments(self) -> list[str]:
        files = {
            "pretrained_model_name_or_path": "flux1-dev.safetensors",
            "clip_l": "clip_l.safetensors",
            "t5xxl": "t5xxl_fp16.safetensors",
            "ae": "ae.safetensors",
        }
        return [word for flag, name in files.items() for word in (f"--{flag}", str(self.folder / name))]


def make_models(folder: Path, *arguments: str) -> Models:
    """Runs make_tiny_flux.py."""
    program = ROOT / "sd-scripts" / "make_tiny_flux.py"
    subprocess.run(
        [sys.executable, program, folder, *arguments], check=True, capture_output=True, timeout=DEADLINE_SECONDS
    )
    return Models(folder=folder)


def make_pictures(folder: Path, count: int, *, caption: str = "a {} square") -> Path:
    """Draws coloured squares on black, with captions."""
    folder.mkdir()
    for index in range(count):
        picture = Image.new("RGB", (80, 64))
        ImageDraw.Draw(picture).rectangle((8 + index, 8, 40, 40), fill=COLOURS[index])
        picture.save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(caption.format(COLOURS[index]) + "\n", encoding="utf-8")
    return folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A command line: the flags that the program requires, and `extra` for the test at hand."""

    models: Models
    folder: Path
    pictures: Path
    extra: tuple[str, ...] = ()
    output: str = "out"
    repeats: int = 2

    @property
    def output_dir(self) -> Path:
        return self.folder / self.output

    def plus(self, words: str, **changes: Any) -> Self:
        """The same settings with more flags."""
        return dataclasses.replace(self, extra=(*self.extra, *shlex.split(words)), **changes)

    def with_samples(self) -> Self:
        prompts = self.folder / "prompts.txt"
        prompts.write_text("a red square --w 64 --h 64 --d 7 --s 2\nnothing --w 64 --h 64 --s 2 --l 2 --n red\n")
        return self.plus(f"--sample_prompts {prompts} --sample_every_n_epochs 1 --sample_at_first")

    def arguments(self) -> list[str]:
        dataset = self.folder / "dataset.toml"
        if not dataset.exists():
            dataset.write_text(
                "[general]\ncaption_extension = '.txt'\n[[datasets]]\nresolution = 64\n"
                f"[[datasets.subsets]]\nimage_dir = '{self.pictures}'\nnum_repeats = {self.repeats}\n"
            )
        words = (
            f"--dataset_config {dataset} --output_dir {self.output_dir} --output_name lora --seed 42 "
            "--network_module networks.lora_flux --network_dim 2 --learning_rate 1e-2 --max_train_epochs 3 "
            "--save_every_n_epochs 1 --save_state --timestep_sampling shift --discrete_flow_shift 3.1582 "
            "--model_prediction_type raw --guidance_scale 1 --t5xxl_max_token_length 16 "
            "--max_data_loader_n_workers 2"
        )
        return [*self.models.arguments(), *shlex.split(words), *self.extra]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a run."""

    status: int
    stdout: str
    stderr: str
    lines: list[Line]
    output_dir: Path

    @property
    def lora(self) -> Path:
        return self.output_dir / "lora.safetensors"

    def steps(self) -> list[Line]:
        """The lines of completed steps. A phase's first line and the lines of micro-steps have no loss."""
        return [line for line in self.lines if line["phase"] == "training" and "loss" in line]

    def phases(self) -> list[str]:
        """The phases in order, without repetitions."""
        phases = [line["phase"] for line in self.lines]
        return [phase for index, phase in enumerate(phases) if index == 0 or phases[index - 1] != phase]


class RunningTrainer:
    """A running trainer. Its metrics file is a pipe, which a thread of the test reads."""

    def __init__(self, settings: Settings, command: tuple[str, ...] = ()) -> None:
        settings.folder.mkdir(exist_ok=True)
        self.settings = settings
        self.lines: list[Line] = []
        self._news: queue.Queue[Line | None] = queue.Queue()
        pipe = settings.folder / f"{settings.output}.metrics"
        os.mkfifo(pipe)
        # Opened for reading and writing, so that the trainer's open() never waits.
        descriptor = os.open(pipe, os.O_RDWR)
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(descriptor, "rb"),), daemon=True)
        self._reader.start()
        self._log = (settings.folder / f"{settings.output}.stdout", settings.folder / f"{settings.output}.stderr")
        with self._log[0].open("wb") as stdout, self._log[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, sys.executable, PROGRAM, *settings.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, "FLUXGYM_METRICS": str(pipe), "LC_ALL": "C"},
                start_new_session=True,
            )
        self._pipe = pipe

    def _read(self, stream: Any) -> None:
        with stream:
            for raw in stream:
                if raw == b"end\n":
                    self._news.put(None)
                    return
                self._news.put(json.loads(raw))

    def wait_for(self, condition: Callable[[Line], bool]) -> Line:
        """The first new line of progress that meets the condition."""
        while True:
            line = until(self._next_line, what="the trainer to report progress")
            self.lines.append(line)
            if condition(line):
                return line

    def _next_line(self) -> Line | None:
        """AssertionError if the trainer has ended and reported no more."""
        ended = self.process.poll() is not None
        try:
            return self._news.get(timeout=30.0 if ended else 1.0)  # what it wrote last may still be on its way
        except queue.Empty:
            said = self._log[1].read_text(encoding="utf-8", errors="replace")[-2000:]
            assert not ended, f"the trainer has ended: {said}"
            return None

    def signal_group(self, signum: signal.Signals) -> None:
        """Signals every process of the group at once, as systemd does when it stops a scope."""
        os.killpg(self.process.pid, signum)

    def finish(self) -> Outcome:
        """Waits for the end and collects the results."""
        status = self.process.wait(timeout=DEADLINE_SECONDS)
        with self._pipe.open("wb") as end:
            end.write(b"end\n")
        self._reader.join(timeout=DEADLINE_SECONDS)
        self._pipe.unlink()
        while (line := self._news.get_nowait()) is not None:
            self.lines.append(line)
        stdout, stderr = (path.read_text(encoding="utf-8") for path in self._log)
        return Outcome(
            status=status, stdout=stdout, stderr=stderr, lines=self.lines, output_dir=self.settings.output_dir
        )


@contextlib.contextmanager
def running(settings: Settings, command: tuple[str, ...] = ()) -> Iterator[RunningTrainer]:
    """A running trainer, which is killed if it still runs when the test ends."""
    trainer = RunningTrainer(settings, command)
    try:
        yield trainer
    finally:
        if trainer.process.poll() is None:
            trainer.signal_group(signal.SIGKILL)
            trainer.process.wait(timeout=DEADLINE_SECONDS)


def train(settings: Settings, *, status: int = 0) -> Outcome:
    """Runs the trainer to its end and checks its exit status."""
    with running(settings) as trainer:
        outcome = trainer.finish()
    assert outcome.status == status, outcome.stderr
    return outcome
