# SPDX-License-Identifier: Apache-2.0
"""The real daemon, with the process adapter and our real trainer on a tiny Flux, in a temporary home."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from fluxgym.client import Connection
from fluxgym.errors import DaemonUnreachable, NoSuchJob
from fluxgym.messages import Job
from fluxgym.methods import DESCRIBE, LIST, STOP, JobName, ListParameters
from fluxgymctl.outcome import has_ended
from tests.harness.waiting import until

ROOT = Path(__file__).resolve().parents[2]
TRAINER_PYTHON = ROOT / ".venv-trainer/bin/python"

SPEC = """\
dataset = "pictures"
resolution = 128
repeats = 1
epochs = 3
save_every_epochs = 1
learning_rate = 0.002

[model]
transformer = "models/flux1-dev.safetensors"
clip_l = "models/clip_l.safetensors"
t5xxl = "models/t5xxl_fp16.safetensors"
autoencoder = "models/ae.safetensors"
tokenizers = "models/tokenizers"

[trainer_options]
network_train_unet_only = true
gradient_checkpointing = false
mixed_precision = "no"
"""


def make_material(folder: Path) -> Path:
    """A tiny Flux, a few pictures, and a spec that trains them in seconds; the path of the spec."""
    for python, script, out in (
        (TRAINER_PYTHON, ROOT / "sd-scripts/make_tiny_flux.py", folder / "models"),
        (TRAINER_PYTHON, ROOT / "demo/make_pictures.py", folder / "pictures"),
    ):
        subprocess.run(
            [python, script, out],
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        )
    spec = folder / "tiny.toml"
    spec.write_text(SPEC, encoding="utf-8")
    return spec


class Daemon:
    """fluxgymd as a program. It can be killed and started again; its socket and home stay."""

    def __init__(self) -> None:
        # A socket's path is short (107 bytes); pytest's folders are not.
        self.folder = Path(tempfile.mkdtemp(prefix="fluxgym-test-"))
        self.socket = self.folder / "s"
        self.home = self.folder / "home"
        self._log = self.folder / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "fluxgymd"),
                    *("--home", self.home),
                    *("--socket", self.socket),
                    *("--supervisor", "process"),
                ],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, what="the daemon's answer")

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """As systemd would stop it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def close(self) -> None:
        """Ends its jobs, then it, and removes the home."""
        assert self._process is not None
        try:
            for job in self.jobs():
                if not has_ended(job.runtime.state):
                    self._stop(job.context.name)
        finally:
            self.terminate()
        shutil.rmtree(self.folder)

    def jobs(self) -> list[Job]:
        with self._connect() as connection:
            return [reply.job for reply in connection.stream(LIST, ListParameters()) if reply.job is not None]

    def job(self, name: str) -> Job:
        with self._connect() as connection:
            return connection.call(DESCRIBE, JobName(name=name)).job

    def has_ended(self, name: str) -> bool:
        try:
            return has_ended(self.job(name).runtime.state)
        except NoSuchJob:
            return True

    def steps(self, name: str) -> int:
        """Steps that the trainer has told; 0 before the first."""
        progress = self.job(name).runtime.progress
        return (progress.step or 0) if progress is not None else 0

    def outputs(self) -> set[str]:
        return set(os.listdir(self.home / "outputs"))

    def _stop(self, name: str) -> None:
        with self._connect() as connection:
            connection.call(STOP, JobName(name=name))
        until(lambda: self.has_ended(name), what=f"the end of {name}")

    def _connect(self) -> Connection:
        return Connection(self.socket)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"fluxgymd left: {self._log.read_text()}"
        try:
            self._connect().close()
        except DaemonUnreachable:
            return False
        return True
