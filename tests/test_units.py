# SPDX-License-Identifier: Apache-2.0
"""Tests of the unit files, and of `./dev install`, which installs them, on a real user manager."""

from __future__ import annotations

import configparser
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.harness.booted_machine import BootedMachine
from tests.harness.copied import copy_checkout
from tests.harness.user_manager import UserManager
from tests.harness.waiting import BUILD_SECONDS

UNITS = ("fluxgymd.service", "fluxgymd.socket", "fluxgym.slice", "fluxgym-web.service", "fluxgym-web.socket")


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    parser.read(path)
    return parser


def pip_environment() -> dict[str, str]:
    """Returns pip's settings on this machine but not its cache, as on a machine without FluxGym."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name != "PIP_CACHE_DIR"}


def test_the_service_asks_for_nothing_that_would_break_a_trainer_or_lose_the_socket(checkout: Path) -> None:
    service = read(checkout / "units/fluxgymd.service")["Service"]
    # A trainer inherits all of these from the daemon, whose child it is (units/fluxgymd.service).
    breaks_trainers = {"MemoryDenyWriteExecute", "PrivateDevices", "PrivateTmp", "ProtectHome", "SystemCallFilter"}
    breaks_socket_or_state = {"RuntimeDirectory", "StateDirectory"}
    assert not (breaks_trainers | breaks_socket_or_state) & set(service)
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"


@pytest.mark.systemd
def test_verify_would_find_a_mistake(user_manager: UserManager, checkout: Path, tmp_path: Path) -> None:
    bad = tmp_path / "fluxgymd.socket"
    bad.write_text((checkout / "units/fluxgymd.socket").read_text().replace("SocketMode=0600", "SocketMod=0600"))
    verified = user_manager.run(["systemd-analyze", "--user", "verify", bad], check=False)
    assert "Unknown key 'SocketMod'" in verified.stderr


@pytest.mark.systemd
def test_install_sets_up_a_daemon_that_its_first_client_starts_and_uninstall_removes_everything(
    user_manager: UserManager, checkout: Path
) -> None:
    dev = checkout / "dev"
    trainer = ["--trainer-python", str(checkout / ".venv-trainer/bin/python")]
    user_manager.run([dev, "install", *trainer], env=pip_environment(), timeout=BUILD_SECONDS)
    folder = user_manager.home / ".config/systemd/user"
    verified = user_manager.run(
        ["systemd-analyze", "--user", "verify", *(folder / unit for unit in UNITS)], check=False
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")

    path = user_manager.runtime_directory / "fluxgym/fluxgymd.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert user_manager.show("fluxgymd.service", "UnitFileState") == "enabled"
    assert user_manager.show("fluxgymd.service", "ActiveState") == "inactive"
    client = user_manager.home / ".local/bin/fluxgymctl"
    user_manager.run([client, "list"])
    assert user_manager.show("fluxgymd.service", "ActiveState") == "active"

    first = user_manager.show("fluxgymd.service", "MainPID")
    user_manager.systemctl("restart", "fluxgymd.service")
    user_manager.run([client, "list"])  # the socket has stayed in place
    assert user_manager.show("fluxgymd.service", "MainPID") != first

    user_manager.run([dev, "uninstall"])
    assert user_manager.show("fluxgymd.service", "LoadState") == "not-found"
    assert not path.exists()
    places = [folder, user_manager.home / ".local/bin"]
    assert [entry for place in places for entry in place.iterdir() if entry.is_file()] == []
    assert not (user_manager.home / ".local/lib/fluxgym").exists()


def test_install_without_a_user_manager_is_refused_in_one_sentence_and_changes_nothing(
    checkout: Path, tmp_path: Path
) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "none")}
    refused = subprocess.run(
        [checkout / "dev", "install"], env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("dev: no user manager answers (systemctl --user)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.booted
def test_an_ordinary_user_installs_from_a_checkout_of_their_own(
    booted_machine: BootedMachine, checkout: Path, packages: Path
) -> None:
    booted_machine.add_user("alice", linger=False)
    home = booted_machine.root / "home/alice"
    copy_checkout(checkout, home / "fluxgym")
    shutil.copytree(packages, home / "packages")  # the machine has no network
    booted_machine.run(["chown", "-R", "alice:", "/home/alice"])
    booted_machine.run(["systemctl", "start", f"user@{booted_machine.uid_of('alice')}.service"])
    booted_machine.wait_for_user("alice")

    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/home/alice/packages"}
    install = ["/home/alice/fluxgym/dev", "install", "--no-trainer"]
    said = booted_machine.run(install, user="alice", env=offline, timeout=BUILD_SECONDS).stderr
    lingers = (booted_machine.root / "var/lib/systemd/linger/alice").exists()
    assert lingers != ("as root: loginctl enable-linger alice" in said)

    booted_machine.run(["loginctl", "enable-linger", "alice"])
    booted_machine.reboot()
    booted_machine.wait_for_user("alice")  # her daemon starts with her user manager at boot
    active = ["systemctl", "--user", "is-active", "fluxgymd.socket", "fluxgymd.service"]
    assert booted_machine.run(active, user="alice").stdout == "active\nactive\n"
    booted_machine.run(["/home/alice/.local/bin/fluxgymctl", "list"], user="alice")

    again = booted_machine.run(install, user="alice", env=offline, timeout=BUILD_SECONDS).stderr
    assert "linger" not in again
