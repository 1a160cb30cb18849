# SPDX-License-Identifier: Apache-2.0
"""The life of a run of kohya-ss/sd-scripts, without the training: its flags, counters, files and faults.

Its arithmetic is that of train_network.py at 48d368f (lines 944 to 971, 1232 to 1275, 1401 to 1416, 1690 to 1728):
the step counter restarts at each resume, a LoRA is written before its state, a state is written in place with
train_state.json first and the random states last, a finished state is refused, and no signal saves anything. What it
prints has the form of the real one's, which tests/interop ran beside it. Which epochs the weights have seen stands
in their metadata, which the real one has not.
"""

import argparse
import hashlib
import json
import math
import shutil
import struct
import sys
import tomllib
from pathlib import Path

RECORDED = Path(__file__).resolve().parents[2] / "store" / "data"
ROUNDS_PER_STEP = 20_000
"""Of hashing: some ten milliseconds."""


def parse(words: list[str]) -> argparse.Namespace:
    """The flags that matter here; the others are taken and not looked at."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in ("output_dir", "dataset_config", "resume"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--output_name")
    for name in ("max_train_epochs", "save_every_n_epochs", "save_last_n_epochs_state", "initial_epoch"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_known_args(words)[0]


def work(steps: int) -> None:
    hashlib.pbkdf2_hmac("sha256", b"", b"", ROUNDS_PER_STEP * steps)


def info(message: str) -> None:
    """A line of the log."""
    print(f"                    INFO     {message}", file=sys.stderr, flush=True)


def draw_bar(done: int, total: int, loss: str) -> None:
    """A bar like tqdm's: the line ends only when the bar is redrawn."""
    told = f"{done}/{total} [00:00<00:00,  0.01s/it{loss}]"
    print(f"\rsteps: {100 * done // total:3d}%|          | {told}", end="", file=sys.stderr, flush=True)


class NetworkTrainer:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        dataset = tomllib.loads(args.dataset_config.read_text())["datasets"][0]["subsets"][0]
        pictures = len(list(Path(dataset["image_dir"]).glob("*.png")))
        self.steps_per_epoch = pictures * dataset["num_repeats"]
        self.max_train_steps = args.max_train_epochs * self.steps_per_epoch
        self.current_epoch = 0
        self.current_step = 0
        self.trained: list[int] = []
        """The epochs that the weights have seen."""

    def train(self) -> None:
        steps_from_state = self._load_state() if self.args.resume else None
        initial_step = 0
        if self.args.initial_epoch is not None:
            initial_step = (self.args.initial_epoch - 1) * self.steps_per_epoch
        elif steps_from_state is not None:
            initial_step = steps_from_state
        if initial_step > 0:
            assert self.max_train_steps > initial_step, "max_train_steps should be greater than initial step"
        epochs = math.ceil(self.max_train_steps / self.steps_per_epoch)
        global_step = 0
        loss = ""
        for epoch in range(initial_step // self.steps_per_epoch, epochs):
            print(f"\nepoch {epoch + 1}/{epochs}", flush=True)
            self.current_epoch = epoch + 1
            for _ in range(self.steps_per_epoch):
                self.current_step = global_step
                work(1)
                global_step += 1
                draw_bar(global_step, self.max_train_steps, loss)
                loss = f", avr_loss={1 / global_step:.3g}"
                draw_bar(global_step, self.max_train_steps, loss)
            self.trained.append(epoch + 1)
            every = self.args.save_every_n_epochs
            if (epoch + 1) % every == 0 and epoch + 1 < epochs:
                self._save_lora(f"{self.args.output_name}-{epoch + 1:06d}.safetensors")
                info(f"saving state at epoch {epoch + 1}")
                self._save_state(f"{self.args.output_name}-{epoch + 1:06d}-state")
                old = epoch + 1 - every * self.args.save_last_n_epochs_state
                shutil.rmtree(self.args.output_dir / f"{self.args.output_name}-{old:06d}-state", ignore_errors=True)
        info("saving last state.")
        self._save_state(f"{self.args.output_name}-state")
        self._save_lora(f"{self.args.output_name}.safetensors")
        info("model saved.")
        draw_bar(global_step, self.max_train_steps, loss)

    def _load_state(self) -> int:
        folder = self.args.resume
        weights = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", weights[:8])
        self.trained = json.loads(json.loads(weights[8 : 8 + length])["__metadata__"]["trained"])
        for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
            assert (folder / name).read_bytes() == (RECORDED / name).read_bytes(), f"{name} is torn"
        return int(json.loads((folder / "train_state.json").read_text())["current_step"])

    def _save_state(self, name: str) -> None:
        folder = self.args.output_dir / name
        info(f"Saving current state to {folder}")
        folder.mkdir(exist_ok=True)
        state = {"current_epoch": self.current_epoch, "current_step": self.current_step + 1}
        (folder / "train_state.json").write_text(json.dumps(state))
        self._save_weights(folder / "model.safetensors")
        for file in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
            work(5)
            shutil.copyfile(RECORDED / file, folder / file)

    def _save_lora(self, name: str) -> None:
        path = self.args.output_dir / name
        print(f"\nsaving checkpoint: {path}", flush=True)
        self._save_weights(path)

    def _save_weights(self, path: Path) -> None:
        metadata = {"trained": json.dumps(self.trained), "ss_epoch": str(self.current_epoch)}
        header = json.dumps({"__metadata__": metadata}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)


if __name__ == "__main__" and "--help" not in sys.argv:
    NetworkTrainer(parse(sys.argv[1:])).train()
