# SPDX-License-Identifier: Apache-2.0
"""Another user of the machine has no access, for two reasons: the socket's mode, and the peer's uid as the kernel
gives it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.running import ROOT, RunningDaemon
from tests.harness.waiting import DEADLINE_SECONDS
from tests.wire.attacks import INFO

NOBODY = 65534
EVERYBODYS_PYTHON = os.path.realpath(sys.executable)
"""The system's: another user may have no way to the one in this checkout, which may be in somebody's home."""

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
    """What a client run by this user gets: an answer, or the name of an error."""
    done = subprocess.run(
        [EVERYBODYS_PYTHON, "-c", ASK, str(path), INFO.hex()],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.fail(f"this test becomes another user and needs root: run `sudo {ROOT / 'dev'} test`", pytrace=False)


def test_promise_10_the_socket_is_closed_to_another_user(daemon: RunningDaemon) -> None:
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    daemon.socket.parent.chmod(0o755)
    assert asked_as(NOBODY, daemon.socket) == "PermissionError"


def test_promise_10_another_user_is_refused_although_the_socket_is_open(daemon: RunningDaemon) -> None:
    daemon.socket.parent.chmod(0o755)
    daemon.socket.chmod(0o666)
    answer = json.loads(asked_as(NOBODY, daemon.socket))
    assert answer == {"error": "org.varlink.service.PermissionDenied", "parameters": {}}
    assert json.loads(asked_as(0, daemon.socket))["parameters"]["version"]
    assert daemon.info().version
