# SPDX-License-Identifier: Apache-2.0
"""Another user of the machine reaches nothing, by two locks: the socket's mode, and the kernel's word on the peer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.running import ROOT, RunningDaemon
from tests.wire.attacks import INFO

NOBODY = 65534

ASK = """
import contextlib, socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(60)
try:
    client.connect(sys.argv[1])
except OSError as error:
    print(type(error).__name__)
    sys.exit()
with contextlib.suppress(OSError):  # refused before it was sent; the answer is there
    client.sendall(bytes.fromhex(sys.argv[2]))
print(client.recv(65536).decode().rstrip("\\0"))
"""


def asked_as(uid: int, path: Path) -> str:
    """What a client of this user sees."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(path), INFO.hex()],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.fail(f"this test becomes another user and needs root: run `sudo {ROOT / 'dev'} test`", pytrace=False)


def test_promise_10_the_socket_is_shut_for_another_user(daemon: RunningDaemon) -> None:
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    daemon.socket.parent.chmod(0o755)
    assert asked_as(NOBODY, daemon.socket) == "PermissionError"


def test_promise_10_another_user_is_refused_though_the_socket_is_open(daemon: RunningDaemon) -> None:
    daemon.socket.parent.chmod(0o755)
    daemon.socket.chmod(0o666)
    answer = json.loads(asked_as(NOBODY, daemon.socket))
    assert answer == {"error": "org.varlink.service.PermissionDenied", "parameters": {}}
    assert json.loads(asked_as(0, daemon.socket))["parameters"]["version"]
    assert daemon.info().version
