# SPDX-License-Identifier: Apache-2.0
"""Debian 13 (systemd 257, Python 3.13) for the booted machine: its disk by debootstrap, and wheels built on it.

The first test that asks for it makes both, from Debian's mirror and the package index, in one or two minutes. They
are kept below `KEPT` under a name that tells what they were made of, so later runs need neither time nor a network.

Invariant: what bears its name there is whole, for it is built under another name and then renamed; and it never
changes, for a machine writes into an overlay.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.namespace import SYSTEM_PATH, Namespace, finish, need_root

KEPT = Path("/var/cache/fluxgym-tests")
BUILD_SECONDS = 900.0
"""A bound for hangs: the network may be slow."""
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
"""What `./dev install` asks for."""


def disk() -> Path:
    """The root directory of a Debian 13 that nobody has booted yet."""
    packages = [*MACHINE, *INSTALL, "ca-certificates"]
    return _kept("debian-13", packages, lambda folder: _debootstrap(packages, folder))


def wheels(checkout: Path) -> Path:
    """What `./dev install` installs from the package index, as wheels for this Debian."""
    pyproject = tomllib.loads((checkout / "pyproject.toml").read_text())
    project = pyproject["project"]
    wanted = [
        *pyproject["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["systemd"],
    ]
    root = disk()
    return _kept("wheels-13", [root.name, *wanted], lambda folder: _build_wheels(root, wanted, folder))


def _kept(kind: str, made_of: Any, build: Callable[[Path], None]) -> Path:
    """The folder of this name, built if it is not there yet. One process builds, others wait for it."""
    need_root()
    folder = KEPT / f"{kind}-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            begun = KEPT / f".new-{kind}"
            shutil.rmtree(begun, ignore_errors=True)  # of a run that was killed
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
        archive.unlink()  # all of them are installed


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-4000:]}")


def _build_wheels(root: Path, wanted: list[str], folder: Path) -> None:
    """On a throw-away copy of the disk, with this host's network and the certificates that it trusts."""
    script = 'python3 -m venv /tmp/venv && exec /tmp/venv/bin/pip wheel --quiet --wheel-dir /wheels "$@"'
    command: list[str | Path] = [
        *("systemd-nspawn", "--quiet", "--directory", root, "--volatile=overlay", "--pipe"),
        *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=copy-host"),
        *("--bind-ro=/etc/ssl/certs", f"--bind={folder}:/wheels"),
        *(f"--setenv={name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")),
        *("sh", "-c", script, "sh", *wanted),
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
