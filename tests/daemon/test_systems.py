# SPDX-License-Identifier: Apache-2.0
"""What a job must not notice, and what it must recover from, on each system that the README names: a complete booted
machine, `./dev install` by an ordinary user, real logins.

Programs wait for a file, so nothing here depends on the speed of the machine. The trainer is a stand-in for
kohya-ss/sd-scripts, which records the epochs that its LoRA has seen: a machine with another Python has no torch.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxgym.protocol import methods as m
from tests.daemon.alice import Alice
from tests.daemon.running import ROOT
from tests.harness import debian_13
from tests.harness.booted_machine import BootedMachine
from tests.harness.namespace import kill_command
from tests.harness.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.booted

SERVICE = "fluxgymd.service"
EPOCHS = 12
SPEC = f"""
name = "my-lora"
dataset = "./pictures"
resolution = 64
repeats = 10
epochs = {EPOCHS}
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
network_train_unet_only = true
"""


@pytest.fixture(scope="module", params=["this-system", "debian-13"])
def alice(request: pytest.FixtureRequest, model: Path) -> Iterator[Alice]:
    """A user on this machine's own system (Debian 12 where FluxGym is developed), and one on Debian 13."""
    if request.param == "debian-13":
        disk, packages = debian_13.disk(), debian_13.packages(ROOT)
    else:
        disk, packages = Path("/"), request.getfixturevalue("packages")
    with BootedMachine(disk) as machine:
        machine.run(["python3", "-m", "venv", "--without-pip", "/opt/trainer"])
        alice = Alice(machine, packages, trainer_python=Path("/opt/trainer/bin/python"))
        shutil.copytree(model, alice.home / "model")
        (alice.home / "model/spec.toml").write_text(SPEC)
        config = alice.home / ".config/fluxgym/config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(f'[trainer]\npath = "{ROOT / "tests/daemon/sd_scripts"}"\n')
        alice.owns("model", ".config")
        alice.systemctl("restart", SERVICE)
        yield alice


@pytest.fixture
def lingering(alice: Alice) -> Alice:
    alice.machine.run(["loginctl", "enable-linger", alice.name])
    alice.machine.wait_for_user(alice.name)
    return alice


class Waiter:
    """A job that runs a program, which ends with `status` when told to."""

    def __init__(self, alice: Alice, name: str, *, status: int = 0) -> None:
        self.alice = alice
        self.name = name
        self.command = submit_command(alice, name, status=status)

    def submit(self) -> None:
        self.alice.run("sh", "-c", self.command)

    def running(self) -> dict[str, object]:
        """Waits until the job runs; returns its attempt."""
        attempt = self.alice.wait_for(self.name, "running")["attempt"]
        assert isinstance(attempt, dict)
        return attempt

    def still(self, attempt: dict[str, object]) -> None:
        assert self.running() == attempt, "it has noticed"

    def go(self) -> None:
        self.alice.run("touch", f"/home/{self.alice.name}/{self.name}.go")


def submit_command(alice: Alice, name: str, *, status: int) -> str:
    home = f"/home/{alice.name}"
    script = (
        f"while [ ! -e {home}/{name}.go ]; do sleep 0.05; done; echo '{{\"files\": []}}' >result.json; exit {status}"
    )
    spec = f'name = "{name}"\nkind = "program"\nprogram = ["/bin/sh", "-c", {json.dumps(script)}]\n'
    (alice.home / f"{name}.toml").write_text(spec)
    return shlex.join([f"{home}/.local/bin/fluxgymctl", "submit", "--file", f"{home}/{name}.toml"])


def test_promise_1_a_job_notices_nothing_that_happens_to_its_daemon(lingering: Alice) -> None:
    alice, job = lingering, Waiter(lingering, "steady")
    job.submit()
    attempt = job.running()

    def strike(*command: str) -> None:
        before = alice.show(SERVICE, "MainPID")
        alice.systemctl(*command)
        until(lambda: another_daemon(alice, before), what="another daemon")
        job.still(attempt)

    strike("kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    strike("restart", SERVICE)
    alice.install()  # acts as an upgrade
    job.still(attempt)
    alice.systemctl("stop", SERVICE)
    job.still(attempt)  # the socket was there all the time, so this request starts a daemon
    alice.systemctl("daemon-reload")
    alice.systemctl("daemon-reexec")
    alice.systemctl("kill", "--signal=KILL", "dbus.service")
    job.still(attempt)
    alice.machine.run(["systemctl", "daemon-reload"])
    alice.machine.run(["systemctl", "daemon-reexec"])
    job.still(attempt)
    with watchdog(alice, seconds=3):
        strike("kill", "--kill-whom=main", "--signal=STOP", SERVICE)
    job.go()
    assert alice.wait_for(job.name, "completed")["attempt"]["number"] == 1

    # The daemon has reconnected to systemd: the next job runs in a scope, too.
    after = Waiter(alice, "after")
    after.submit()
    assert str(after.running()["unit"]).endswith(".scope")
    after.go()
    alice.wait_for("after", "completed")


def another_daemon(alice: Alice, before: str) -> bool:
    return alice.show(SERVICE, "ActiveState") == "active" and alice.show(SERVICE, "MainPID") not in ("0", before)


@contextmanager
def watchdog(alice: Alice, *, seconds: int) -> Iterator[None]:
    """Gives the service a shorter watchdog timeout."""
    drop_in = alice.home / f".config/systemd/user/{SERVICE}.d/watchdog.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Service]\nWatchdogSec={seconds}\n")
    alice.systemctl("daemon-reload")
    alice.systemctl("restart", SERVICE)
    yield
    shutil.rmtree(drop_in.parent)
    alice.systemctl("daemon-reload")
    alice.systemctl("restart", SERVICE)


def test_promise_2_the_exit_of_a_job_that_ended_while_the_daemon_was_stopped_is_kept(lingering: Alice) -> None:
    job = Waiter(lingering, "seven", status=7)
    job.submit()
    job.running()
    lingering.systemctl("stop", "fluxgymd.socket", SERVICE)
    job.go()
    record = lingering.outputs(job.name) / "attempts/001/exit.json"
    until(record.exists, what="the end of the job")
    lingering.systemctl("start", "fluxgymd.socket", SERVICE)
    assert lingering.wait_for(job.name, "failed")["attempt"]["exit"]["code"] == 7


class Login:
    """A logind session, open until its terminal is closed."""

    def __init__(self, alice: Alice) -> None:
        self._alice = alice
        as_at_a_terminal = {"XDG_SESSION_CLASS": "user"}
        command = ["su", "--login", alice.name, "--command", "cat"]
        self._shell = alice.machine.popen(command, env=as_at_a_terminal, stdin=subprocess.PIPE)
        until(lambda: sessions(alice), what="the session")

    def close(self) -> None:
        """Logs out; returns when logind has recorded it."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait(timeout=DEADLINE_SECONDS)
        until(lambda: not sessions(self._alice), what="the session to be over")


def sessions(alice: Alice) -> list[str]:
    """The sessions of this user in logind, except that of her manager (`Class=manager`, systemd 256)."""
    table = alice.machine.run(["loginctl", "list-sessions", "--no-legend"]).stdout
    found = [line.split()[0] for line in table.splitlines() if line.split()[1] == str(alice.uid)]
    show = ["loginctl", "show-session", "--property=Class", "--value"]
    return [name for name in found if alice.machine.run([*show, name], check=False).stdout.strip() == "user"]


def user_manager_runs(alice: Alice) -> bool:
    asked = alice.machine.run(["systemctl", "is-active", f"user@{alice.uid}.service"], check=False)
    return asked.stdout.strip() in ("active", "deactivating")


def test_promise_1_with_linger_a_job_does_not_notice_the_end_of_a_session(lingering: Alice) -> None:
    job, session = Waiter(lingering, "logged-out"), Login(lingering)
    job.submit()
    attempt = job.running()
    session.close()
    job.still(attempt)
    job.go()
    assert lingering.wait_for(job.name, "completed")["attempt"]["number"] == 1


@pytest.mark.parametrize("alice", ["debian-13"], indirect=True)  # no test installs an SSH server on this machine
def test_promise_1_with_linger_a_job_does_not_notice_that_ssh_was_cut_off(lingering: Alice) -> None:
    """The job is submitted over SSH. Then a second connection, whose terminal follows the job's log, is cut off."""
    alice, machine = lingering, lingering.machine
    ssh, job = start_sshd(alice), Waiter(lingering, "over-ssh")
    machine.run([*ssh, job.command], user=alice.name)
    watch = [*ssh, "-tt", f"/home/{alice.name}/.local/bin/fluxgymctl logs --follow {job.name}"]
    with machine.popen(watch, user=alice.name) as connection:
        attempt = job.running()
        until(lambda: sessions(alice), what="the session")
        connection.terminate()
    until(lambda: not sessions(alice), what="the session to be over")
    job.still(attempt)
    job.go()
    assert alice.wait_for(job.name, "completed")["attempt"]["number"] == 1


def start_sshd(alice: Alice) -> list[str]:
    """Starts a real sshd; returns the command with which alice can log in from inside the machine."""
    alice.machine.run(["systemctl", "start", "ssh.service"])
    script = (
        "mkdir -p -m 700 .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id && cp .ssh/id.pub .ssh/authorized_keys"
    )
    alice.run("sh", "-c", f"cd && {script}")
    options = ["-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-i", f"/home/{alice.name}/.ssh/id"]
    return ["ssh", *options, f"{alice.name}@127.0.0.1"]


def test_promise_5_without_linger_a_job_ends_with_the_last_session_and_continues_at_the_next(alice: Alice) -> None:
    """The job counts as interrupted, not as failed or stopped, since no user asked to stop it."""
    machine = alice.machine
    session = Login(alice)
    machine.run(["loginctl", "disable-linger", alice.name])
    train(alice, "my-lora")
    train_to_a_checkpoint(alice, "my-lora")
    session.close()
    until(
        lambda: not user_manager_runs(alice),
        what="the user manager to be stopped, some seconds after the last session",
    )
    session = Login(alice)
    machine.wait_for_user(alice.name)  # its default.target starts the daemon
    assert_trained(alice, "my-lora", outcomes=["interrupted", "completed"])
    session.close()


def test_promise_5_jobs_continue_after_a_reboot_and_a_power_cut(lingering: Alice) -> None:
    alice, machine = lingering, lingering.machine
    train(alice, "reboots")
    epoch = train_to_a_checkpoint(alice, "reboots")
    machine.reboot()
    machine.wait_for_user(alice.name)
    train_to_a_checkpoint(alice, "reboots", after=epoch)
    machine.run(["systemctl", "kill", "--signal=KILL", "dbus.service"])  # parts of the system then need a boot
    assert alice.job("reboots")["runtime"]["state"] == "running"
    machine.crash()
    machine.up()
    machine.wait_for_user(alice.name)
    assert_trained(alice, "reboots", outcomes=["interrupted", "interrupted", "completed"])


def test_promise_5_the_death_of_the_user_manager_ends_the_job_and_the_next_manager_resumes_it(
    lingering: Alice,
) -> None:
    """systemd ends all processes of a dead user manager, so this counts as a reboot, not as a failed trainer."""
    alice, unit = lingering, f"user@{lingering.uid}.service"
    train(alice, "orphan")
    train_to_a_checkpoint(alice, "orphan")
    alice.machine.run(["systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit])
    until(lambda: not user_manager_runs(alice), what="the user manager to be dead")
    alice.machine.run(["systemctl", "start", unit])
    alice.machine.wait_for_user(alice.name)
    assert_trained(alice, "orphan", outcomes=["interrupted", "completed"])


def train(alice: Alice, name: str) -> None:
    alice.ctl("submit", "--file", f"/home/{alice.name}/model/spec.toml", name)


def train_to_a_checkpoint(alice: Alice, name: str, *, after: int = 0) -> int:
    """Waits for a complete state of an epoch after `after`, then pauses the trainer with SIGSTOP so that it cannot
    finish before the test's next step. Returns the newest epoch."""

    def newest() -> int:
        states = alice.ask(m.CHECKPOINTS, m.JobName(name=name)).checkpoints
        return max((state.epoch or 0 for state in states if state.complete), default=0)

    alice.wait_for(name, "running")
    until(lambda: newest() > after, what=f"another checkpoint of {name}")
    attempt = alice.wait_for(name, "running")["attempt"]
    alice.run(*kill_command(attempt["pid"], signal.SIGSTOP))
    return newest()


def assert_trained(alice: Alice, name: str, *, outcomes: list[str]) -> None:
    """Checks that each epoch was trained exactly once, by attempts with these outcomes."""
    alice.wait_for(name, "completed")
    header = (alice.outputs(name) / f"{name}.safetensors").read_bytes()
    told = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]["trained"]
    assert json.loads(told) == list(range(1, EPOCHS + 1))
    assert [event["outcome"] for event in alice.events(name) if event["event"] == "ended"] == outcomes
