# SPDX-License-Identifier: Apache-2.0
"""An ordinary user of a booted machine: runs `./dev install` from her own checkout, then uses the client."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from tests.daemon.running import ROOT, TRAINER_PYTHON, TRAINING_SECONDS, whole_lines
from tests.harness.booted_machine import BootedMachine
from tests.harness.copied import copy_checkout
from tests.harness.waiting import until

UNDER_WAY = ("queued", "starting", "running", "stopping", "interrupted")


class Alice:
    """An ordinary user of the machine, with fluxgymd installed. She is not logged in, and linger is off.

    trainer_python  the Python for the trainer, as the machine sees it
    """

    name = "alice"

    def __init__(self, machine: BootedMachine, packages: Path, *, trainer_python: Path = TRAINER_PYTHON) -> None:
        self.machine = machine
        self.trainer_python = trainer_python
        self.uid = machine.add_user(self.name, linger=False)
        self.home = machine.root / "home" / self.name
        machine.run(["systemctl", "start", f"user@{self.uid}.service"])  # as a login does
        machine.wait_for_user(self.name)
        copy_checkout(ROOT, self.home / "fluxgym")
        shutil.copytree(packages, self.home / "packages")
        self.owns("fluxgym", "packages")
        self.install()

    def owns(self, *names: str) -> None:
        """Gives her these files of her home, recursively."""
        self.machine.run(["chown", "-R", f"{self.name}:", *names], cwd=f"/home/{self.name}")

    def install(self) -> None:
        """Installs FluxGym, or upgrades it."""
        self.machine.run(
            ["./dev", "install", "--trainer-python", self.trainer_python],
            user=self.name,
            cwd=f"/home/{self.name}/fluxgym",
            env={
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": f"/home/{self.name}/packages",
                "PIP_CONFIG_FILE": "/dev/null",
            },
            timeout=TRAINING_SECONDS,
        )

    def run(
        self, *command: str | Path, check: bool = True, input_text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.machine.run(command, user=self.name, check=check, timeout=TRAINING_SECONDS, input_text=input_text)

    def systemctl(self, *arguments: str) -> str:
        """Runs `systemctl --user` and returns its output."""
        return self.run("systemctl", "--user", *arguments).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Returns one property of one of her units."""
        return self.systemctl("show", f"--property={name}", "--value", unit)

    def ctl(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(f"/home/{self.name}/.local/bin/fluxgymctl", *arguments, check=check)

    def job(self, name: str) -> dict[str, Any]:
        job = json.loads(self.ctl("status", "--json", name).stdout)
        assert isinstance(job, dict)
        return job

    def ask(self, method: m.Method[Any, Any], parameters: Any) -> Any:
        """Calls the daemon from here, as root. A wait looks again and again, and each start of a client inside would
        take the CPU time of several training steps."""
        socket = Path(f"/proc/{self.machine.leader}/root/run/user/{self.uid}/fluxgym/fluxgymd.sock")
        with Connection(socket) as connection:
            return connection.call(method, parameters)

    def runtime(self, name: str) -> dict[str, Any]:
        """The job's `runtime`, as `fluxgymctl status --json` writes it."""
        job = json.loads(msgspec.json.encode(self.ask(m.DESCRIBE, m.JobName(name=name)).job))
        assert isinstance(job["runtime"], dict)
        return job["runtime"]

    def wait_for(self, name: str, *states: str) -> dict[str, Any]:
        """Waits until the job is in one of these states; returns its `runtime`."""

        def look() -> dict[str, Any] | None:
            runtime = self.runtime(name)
            assert runtime["state"] in (*states, *UNDER_WAY), f"{name}: {runtime}"
            return runtime if runtime["state"] in states else None

        return until(look, what=f"{name} to be {' or '.join(states)}", deadline_seconds=TRAINING_SECONDS)

    def outputs(self, name: str) -> Path:
        """The job's folder, which can be read even while the machine is down."""
        return self.home / ".local/share/fluxgym/outputs" / name

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events in the job's journal."""
        return whole_lines(self.outputs(name) / "events.jsonl")

    def wait_for_step(self, name: str, step: int) -> None:
        def reached() -> bool:
            return bool(self.runtime(name).get("progress", {}).get("step", 0) >= step)

        until(reached, what=f"step {step} of {name}", deadline_seconds=TRAINING_SECONDS)

    def journal(self, *match: str) -> list[dict[str, Any]]:
        """The matching entries of systemd's journal, in order."""
        output = self.run("journalctl", "--user", "--output=json", *match).stdout
        return [json.loads(line) for line in output.splitlines()]
