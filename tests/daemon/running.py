# SPDX-License-Identifier: Apache-2.0
"""A real daemon for a test, which can start it anywhere, kill it, restart it, and query it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil

from fluxgym.errors import DaemonUnreachable, WrongState
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import Context, Job, Kind, Model, State
from tests.harness.waiting import DEADLINE_SECONDS, POLL_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]
TRAINER_PYTHON = ROOT / ".venv-trainer" / "bin" / "python"

Popen = Callable[[Sequence[str | Path], Mapping[str, str]], "subprocess.Popen[str]"]
"""Starts a command with these variables added to its environment."""

FINAL = (State.COMPLETED, State.FAILED, State.STOPPED)
TRAINING_SECONDS = 600.0
"""Deadline for a complete training while several run at once."""


def popen_here(command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Starts a command on this machine, which may have no user manager."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("FLUXGYM_", "XDG_", "DBUS_"))}
    return subprocess.Popen(command, env=environ | dict(env), text=True)


def write_script(path: Path, text: str) -> Path:
    """Writes an executable shell script; returns its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o700)
    return path


def whole_lines(path: Path, *, offset: int = 0) -> list[dict[str, Any]]:
    """Returns the objects of a JSON Lines file from `offset` on, except a last line that is only half written."""
    return [json.loads(line) for line in path.read_bytes()[offset:].split(b"\n")[:-1]]


class Asked:
    """What a test can ask a daemon, wherever the daemon runs."""

    def __init__(self, *, home: Path, socket: Path) -> None:
        self.home = home
        self.socket = socket

    def call(self, method: m.Method[Any, Any], parameters: Any) -> Any:
        with Connection(self.socket) as connection:
            return connection.call(method, parameters)

    def info(self) -> mm.InfoReply:
        reply = self.call(mm.INFO, m.Nothing())
        assert isinstance(reply, mm.InfoReply)
        return reply

    def job(self, name: str) -> Job:
        job = self.call(m.DESCRIBE, m.JobName(name=name)).job
        assert isinstance(job, Job)
        return job

    def jobs(self) -> list[Job]:
        with Connection(self.socket) as connection:
            return [reply.job for reply in connection.stream(m.LIST, m.ListParameters()) if reply.job is not None]

    def submit(self, context: Context) -> m.SubmitReply:
        reply = self.call(m.SUBMIT, m.SubmitParameters(job=context))
        assert isinstance(reply, m.SubmitReply)
        return reply

    def wait(self, name: str, *states: State) -> Job:
        """Waits until the job is in one of these states."""

        def look() -> Job | None:
            job = self.job(name)
            if job.runtime.state not in states and job.runtime.state in FINAL:
                raise AssertionError(
                    f"{name} is {job.runtime.state}: {job.runtime.reason}\n{self.training_log(name)}"
                )
            return job if job.runtime.state in states else None

        return until(look, what=f"{name} to be {' or '.join(states)}", deadline_seconds=TRAINING_SECONDS)

    def wait_for_step(self, name: str, step: int) -> Job:
        """Waits until the daemon shows that this many steps are done."""

        def look() -> Job | None:
            job = self.job(name)
            if job.runtime.state in FINAL:
                raise AssertionError(f"{name} is {job.runtime.state} already: {job.runtime.reason}")
            progress = job.runtime.progress
            return job if progress is not None and (progress.step or 0) >= step else None

        return until(look, what=f"{name} to do step {step}", deadline_seconds=TRAINING_SECONDS)

    def reach(self, name: str, step: int, *, attempt: int = 1) -> None:
        """Waits until the trainer has reported this many steps for this attempt. This reads the trainer's own file:
        the daemon reads that only once a second, in which a fast machine can finish a short training."""
        metrics = self.folder(name) / "metrics.jsonl"

        def told() -> bool:
            seen = {event["event"]: event for event in self.events(name) if event.get("attempt") == attempt}
            assert "ended" not in seen, f"{name} has not done step {step}: {seen['ended']}"
            if "started" not in seen or not metrics.exists():
                return False
            lines = whole_lines(metrics, offset=seen["reserved"]["metricsOffset"])
            return any((line.get("step") or 0) >= step for line in lines)

        what = f"attempt {attempt} of {name} to do step {step}"
        until(told, what=what, deadline_seconds=TRAINING_SECONDS, longest_pause=POLL_SECONDS)

    def folder(self, name: str) -> Path:
        return self.home / "outputs" / name

    def training_log(self, name: str) -> str:
        log = self.folder(name) / "training.log"
        return log.read_bytes().decode(errors="replace") if log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events in the job's journal."""
        return whole_lines(self.folder(name) / "events.jsonl")

    def remove(self, name: str) -> None:
        """Deletes the job, stopping it first if it is still running. Retries until its end is recorded."""

        def removed() -> bool:
            try:
                self.call(m.REMOVE, m.RemoveParameters(name=name, now=True))
            except WrongState:
                with suppress(WrongState):
                    self.call(m.STOP, m.StopParameters(name=name))
                return False
            return True

        until(removed, what=f"{name} to be removed")

    def end_jobs(self) -> None:
        """Ends all jobs, so that no trainer outlives its test, however the test ended."""
        for job in self.jobs():
            if job.runtime.state not in (*FINAL, State.DAMAGED):
                try:
                    self.call(m.STOP, m.StopParameters(name=job.context.name))
                except Exception as error:  # noqa: BLE001 - it has ended meanwhile, or is already being stopped
                    print(error, file=sys.stderr)
                self.wait(job.context.name, *FINAL)


class RunningDaemon(Asked):
    """A daemon that a test starts itself: `with RunningDaemon(folder) as daemon:`."""

    def __init__(
        self,
        folder: Path,
        *,
        popen: Popen = popen_here,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        home_inside: Path | None = None,
    ) -> None:
        """`home_inside`: the path under which the daemon sees its home, if the test sees it elsewhere (`home`)."""
        super().__init__(home=folder / "home", socket=folder / "socket")
        self._home_inside = home_inside
        self.log = folder / "daemon.log"
        self.arguments = arguments
        self.environment = {
            "OMP_NUM_THREADS": "1",
            "FLUXGYM_TRAINER_PYTHON": str(TRAINER_PYTHON),
            "XDG_STATE_HOME": str(folder / "state"),  # a test that pauses the queue must not pause this machine's
            "TMPDIR": str(folder),  # temporary files that no daemon cleans up are removed with the test's folder
        } | dict(env or {})
        self._popen = popen
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is None:
            self.start()
        self.end_jobs()
        self.stop()

    def start(self) -> None:
        """Starts the daemon; returns when it answers."""
        home = self._home_inside or self.home
        command = [sys.executable, "-m", "fluxgymd", "--home", str(home), "--socket", str(self.socket)]
        shell = ["sh", "-c", 'log=$1; shift; exec "$@" 2>>"$log"', "sh", str(self.log), *command, *self.arguments]
        self.process = self._popen(shell, self.environment | {"PYTHONPATH": str(ROOT)})
        until(self._answers, what="the daemon to answer")

    def stop(self) -> None:
        """Stops the daemon with SIGTERM. Its exit status must be 0."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=DEADLINE_SECONDS)
        self.process = None
        assert status == 0, f"fluxgymd left with {status}:\n{self.log.read_text()}"

    def kill(self) -> None:
        """Kills the daemon with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=DEADLINE_SECONDS)
        self.process = None

    def helper(self, module: str) -> psutil.Process | None:
        """The daemon's helper process that is currently running this module, or None."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # another helper, which has just ended
                if module in child.cmdline():
                    return child
        return None

    def evidence(self, *names: str) -> str:
        """Returns the daemon's log, and the journal and the log of each of these jobs, for whoever looks for a
        fault."""
        told = [f"--- fluxgymd\n{self.log.read_text(errors='replace')[-3000:]}"]
        for name in names:
            journal = self.folder(name) / "events.jsonl"
            if journal.exists():
                told.append(f"--- {name}\n{journal.read_text(errors='replace')}\n{self.training_log(name)[-3000:]}")
        return "\n".join(told)

    def _answers(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        if status is not None:
            raise AssertionError(f"fluxgymd left with {status}:\n{self.log.read_text()}")
        try:
            self.info()
        except DaemonUnreachable:
            return False
        return True


def context(name: str, model: Path, **changes: Any) -> Context:
    """A short training of the tiny model: 64 steps in total, a checkpoint every 16."""
    options = {
        "network_alpha": ["4"],
        "network_train_unet_only": [],
        "mixed_precision": ["no"],
        "gradient_checkpointing": ["false"],
        "cache_text_encoder_outputs": [],
        "t5xxl_max_token_length": ["256"],  # with 512, half of a training's CPU time goes into the tokens of texts
    }
    values: dict[str, Any] = {
        "name": name,
        "dataset": str(model / "pictures"),
        "model": tiny_model(model),
        "resolution": 64,
        "repeats": 2,
        "epochs": 4,
        "save_every_epochs": 1,
        "learning_rate": 2e-3,
        "network_dim": 4,
        "trainer_options": options,
    }
    return Context(**(values | changes))


DONE = """echo '{"files": []}' > result.json"""
"""The script of a program that completes at once."""


def program(name: str, script: str = DONE, **changes: Any) -> Context:
    """A job that runs a shell script instead of a training: submit has nothing to check, and a sleep is cheap."""
    return Context(name=name, kind=Kind.PROGRAM, program=["/bin/sh", "-c", script], **changes)


def make_model(folder: Path) -> None:
    """Makes a tiny model with the real programs, and 8 pictures with captions in `pictures/`."""
    subprocess.run(
        [TRAINER_PYTHON, ROOT / "sd-scripts" / "make_tiny_flux.py", folder], check=True, timeout=DEADLINE_SECONDS
    )
    subprocess.run(
        [TRAINER_PYTHON, ROOT / "demo" / "make_pictures.py", folder / "pictures"],
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    for extra in sorted((folder / "pictures").iterdir())[16:]:
        extra.unlink()


def tiny_model(folder: Path) -> Model:
    return Model(
        transformer=str(folder / "flux1-dev.safetensors"),
        clip_l=str(folder / "clip_l.safetensors"),
        t5xxl=str(folder / "t5xxl_fp16.safetensors"),
        autoencoder=str(folder / "ae.safetensors"),
        tokenizers=str(folder / "tokenizers"),
    )


def model_flags(folder: Path) -> list[str]:
    """The tiny model as flags of `fluxgymctl submit`."""
    files = msgspec.structs.asdict(tiny_model(folder))
    return [f"--{name.replace('_', '-')}={path}" for name, path in files.items()]


def tensors(path: Path) -> dict[str, bytes]:
    """The tensors of a safetensors file, by name. Its metadata is left out, since that contains times."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    start = 8 + length
    return {
        name: data[start + facts["data_offsets"][0] : start + facts["data_offsets"][1]]
        for name, facts in header.items()
    }
