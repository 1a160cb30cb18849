# SPDX-License-Identifier: Apache-2.0
"""On a whole machine, as an ordinary user: ./dev install, the journal, a restart of the service, and a reboot."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.running import ROOT, TRAINER_PYTHON, TRAINING_SECONDS
from tests.harness.booted_machine import BootedMachine
from tests.harness.waiting import until

pytestmark = pytest.mark.booted

SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "dev",
    "fluxgym",
    "fluxgymctl",
    "fluxgymd",
    "sd-scripts",
    "units",
)


def copy_sources(target: Path) -> None:
    """A checkout without what was built or trained in it."""
    target.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)


@pytest.fixture(scope="session")
def wheels() -> Iterator[Path]:
    """What `./dev install` installs, as wheels: the machine has no network."""
    folder = Path(tempfile.mkdtemp(prefix="fg-wheels-", dir="/var/tmp"))
    folder.chmod(0o755)
    source = folder / "source"
    copy_sources(source)  # a build writes into its source
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*pip, f"{source}[systemd]", "setuptools"], check=True)
    shutil.rmtree(source)
    yield folder
    shutil.rmtree(folder)


class Alice:
    """An ordinary user of the machine with fluxgymd installed."""

    name = "alice"

    def __init__(self, machine: BootedMachine, wheels: Path) -> None:
        self.machine = machine
        uid = machine.add_user(self.name, linger=False)
        machine.run(["systemctl", "start", f"user@{uid}.service"])  # as at a log-in
        machine.wait_for_user(self.name)
        checkout = machine.root / "home" / self.name / "fluxgym"
        copy_sources(checkout)
        machine.run(["chown", "-R", f"{self.name}:", f"/home/{self.name}/fluxgym"])
        self.install = machine.run(
            ["./dev", "install", "--trainer-python", TRAINER_PYTHON],
            user=self.name,
            cwd=f"/home/{self.name}/fluxgym",
            env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": "/dev/null"},
            timeout=300,
        )

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.run(command, user=self.name, check=check, timeout=TRAINING_SECONDS)

    def ctl(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(f"/home/{self.name}/.local/bin/fluxgymctl", *arguments, check=check)

    def job(self, name: str) -> dict[str, Any]:
        job = json.loads(self.ctl("status", "--json", name).stdout)
        assert isinstance(job, dict)
        return job

    def wait_for_step(self, name: str, step: int) -> None:
        def reached() -> bool:
            return bool(self.job(name)["runtime"].get("progress", {}).get("step", 0) >= step)

        until(reached, what=f"step {step} of {name}", deadline_seconds=TRAINING_SECONDS)

    def journal(self, *match: str) -> list[dict[str, Any]]:
        """The entries that match, in their order."""
        output = self.run("journalctl", "--user", "--output=json", *match).stdout
        return [json.loads(line) for line in output.splitlines()]


SPEC = """
name = "my-lora"
dataset = "pictures"
resolution = 64
repeats = 10
epochs = 4
save_every_epochs = 1
learning_rate = 0.002
network_dim = 4

[model]
transformer = "flux1-dev.safetensors"
clip_l = "clip_l.safetensors"
t5xxl = "t5xxl_fp16.safetensors"
autoencoder = "ae.safetensors"
tokenizers = "tokenizers"

[trainer_options]
network_alpha = 4
network_train_unet_only = true
mixed_precision = "no"
gradient_checkpointing = false
"""


def test_promise_5_a_night_on_a_real_machine(booted_machine: BootedMachine, wheels: Path, model: Path) -> None:
    spec = model / "spec.toml"
    spec.write_text(SPEC)
    alice = Alice(booted_machine, wheels)

    # A submit warns once in one line while linger is off.
    booted_machine.run(["loginctl", "disable-linger", alice.name])
    submitted = alice.ctl("submit", "--file", spec)
    assert submitted.stdout == "my-lora\n"
    assert "loginctl enable-linger" in submitted.stderr
    assert len(submitted.stderr.splitlines()) == 1
    booted_machine.run(["loginctl", "enable-linger", alice.name])
    assert "enable-linger" not in alice.ctl("submit", "--file", spec, "waits").stderr

    # The service may be restarted, the job does not notice.
    alice.wait_for_step("my-lora", 3)
    attempt = alice.job("my-lora")["runtime"]["attempt"]
    alice.run("systemctl", "--user", "restart", "fluxgymd.service")
    assert alice.job("my-lora")["runtime"]["attempt"] == attempt

    # An orderly reboot: nobody logs in, the job saves, and goes on from there by itself.
    alice.wait_for_step("my-lora", 85)
    before = booted_machine.boot_id()
    booted_machine.reboot()
    assert booted_machine.boot_id() != before
    booted_machine.wait_for_user(alice.name)
    alice.ctl("wait", "my-lora", "waits")
    job = alice.job("my-lora")
    assert job["runtime"]["state"] == "completed"
    assert job["runtime"]["attempt"]["number"] == 2
    assert job["runtime"]["stepsLost"] == 0, (
        "the trainer saves when the reboot sends SIGTERM to every process at once"
    )
    assert Path(job["runtime"]["attempt"]["resumedFrom"]).name.startswith("my-lora-step")

    # The journal has exactly this job's log, by its field and by its unit; systemd itself says when a scope starts.
    entries = alice.journal("FLUXGYM_JOB=my-lora")
    lines = [entry["MESSAGE"] for entry in entries]
    assert any("steps:" in line for line in lines)
    by_unit = alice.journal("--unit", "fluxgym-my-lora-*")
    assert [entry for entry in by_unit if entry["SYSLOG_IDENTIFIER"] != "systemd"] == entries
    log = (booted_machine.root / job["runtime"]["home"].lstrip("/") / "training.log").read_text()
    told = [line for line in log.replace("\r", "\n").splitlines() if line.strip()]
    assert [line for line in lines if line not in told] == []
    assert [line for line in told if line not in lines and "steps:" not in line] == []
