# SPDX-License-Identifier: Apache-2.0
"""On a complete machine, as an ordinary user: `./dev install`, the journal, a service restart and a reboot."""

from pathlib import Path

import pytest

from tests.daemon.alice import Alice
from tests.harness.booted_machine import BootedMachine

pytestmark = pytest.mark.booted

SPEC = """
name = "my-lora"
dataset = "./pictures"
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
t5xxl_max_token_length = 256
"""


def test_promise_5_jobs_survive_a_night_on_a_real_machine(
    booted_machine: BootedMachine, packages: Path, model: Path
) -> None:
    spec = model / "spec.toml"
    spec.write_text(SPEC)
    alice = Alice(booted_machine, packages)

    # While linger is off, each submit prints a one-line warning.
    booted_machine.run(["loginctl", "disable-linger", alice.name])
    submitted = alice.ctl("submit", "--file", spec)
    assert submitted.stdout == "my-lora\n"
    assert "loginctl enable-linger" in submitted.stderr
    assert len(submitted.stderr.splitlines()) == 1
    booted_machine.run(["loginctl", "enable-linger", alice.name])
    assert "enable-linger" not in alice.ctl("submit", "--file", spec, "--epochs", "1", "waits").stderr

    # A restart of the service does not affect the job.
    alice.wait_for_step("my-lora", 3)
    attempt = alice.job("my-lora")["runtime"]["attempt"]
    alice.run("systemctl", "--user", "restart", "fluxgymd.service")
    assert alice.job("my-lora")["runtime"]["attempt"] == attempt

    # After an orderly reboot without a login, the job resumes automatically from the checkpoint that it saved.
    alice.wait_for_step("my-lora", 45)
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

    # The journal holds exactly this job's log, whether queried by field or by unit; systemd itself logs scope starts.
    entries = alice.journal("FLUXGYM_JOB=my-lora")
    lines = [entry["MESSAGE"] for entry in entries]
    assert any("steps:" in line for line in lines)
    by_unit = alice.journal("--unit", "fluxgym-my-lora-*")
    assert [entry for entry in by_unit if entry["SYSLOG_IDENTIFIER"] != "systemd"] == entries
    log = (booted_machine.root / job["runtime"]["home"].lstrip("/") / "training.log").read_text()
    told = [line for line in log.replace("\r", "\n").splitlines() if line.strip()]
    assert [line for line in lines if line not in told] == []
    assert [line for line in told if line not in lines and "steps:" not in line] == []
