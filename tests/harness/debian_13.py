# SPDX-License-Identifier: Apache-2.0
"""Debian 13 (systemd 257, Python 3.13) for the booted machine: its disk, made by debootstrap, and packages for it.

The first test that needs them makes both, from Debian's mirror and the package index, in one or two minutes. They are
kept below `KEPT`, under names with a hash of what they were made from, so later runs need neither time nor a network.

Invariant: a folder with such a name is complete, since it is built under another name and then renamed; and it never
changes, since a machine writes into an overlay.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness import install_packages
from tests.harness.namespace import SYSTEM_PATH, Namespace, finish, need_root
from tests.harness.waiting import BUILD_SECONDS

KEPT = Path(os.environ.get("FLUXGYM_TEST_CACHE", "/var/cache/fluxgym-tests"))
MACHINE = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "openssh-client",
    "openssh-server",
)
INSTALL = ("gcc", "pkg-config", "python3-dev", "python3-venv", "libgirepository1.0-dev", "libcairo2-dev")
"""The Debian packages that `./dev install` requires."""


def disk() -> Path:
    """The root directory of a Debian 13 that was never booted."""
    packages = [*MACHINE, *INSTALL, "ca-certificates"]
    return _kept("debian-13", packages, lambda folder: _debootstrap(packages, folder))


def packages(checkout: Path) -> Path:
    """The Python packages that `./dev install` needs, built for this Debian (tests/harness/install_packages.py)."""
    wanted = install_packages.needed(checkout)
    root = disk()
    return _kept("packages-13", [root.name, *wanted], lambda folder: _fetch_packages(root, wanted, folder))


def _kept(kind: str, made_of: Any, build: Callable[[Path], None]) -> Path:
    """The folder that is kept for this `made_of`. If it does not exist, one process builds it while others wait."""
    need_root()
    folder = KEPT / f"{kind}-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            begun = KEPT / f".new-{kind}"
            shutil.rmtree(begun, ignore_errors=True)  # left by a run that was killed
            begun.mkdir()
            build(begun)
            begun.rename(folder)
    return folder


def _debootstrap(packages: list[str], folder: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise FileNotFoundError("a machine with Debian 13 needs Debian's package debootstrap")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", "trixie", str(folder)]
    _run(command)
    for archive in (folder / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()  # all of them are installed by now


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-4000:]}")


def _fetch_packages(root: Path, wanted: list[str], folder: Path) -> None:
    """Fetches them in a throw-away copy of the disk, with this host's network and the certificates that it trusts."""
    script = 'python3 -m venv /tmp/venv && exec "$@"'
    command: list[str | Path] = [
        *("systemd-nspawn", "--quiet", "--directory", root, "--volatile=overlay", "--pipe"),
        *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=copy-host"),
        *("--bind-ro=/etc/ssl/certs", f"--bind={folder}:/packages"),
        *(f"--setenv={name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")),
        *("sh", "-c", script, "sh", *install_packages.command("/tmp/venv/bin/python", "/packages", wanted)),
    ]
    with Namespace() as namespace:
        process = namespace.popen(
            command,
            group=namespace.group / "machine",
            env={"PATH": SYSTEM_PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        finish(process, command=command, check=True, timeout=BUILD_SECONDS, input_text=None)
