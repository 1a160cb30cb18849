# SPDX-License-Identifier: Apache-2.0
"""Another user of the machine has no access, for two reasons: the socket's mode, and the peer's uid as the kernel
gives it."""

import json
from pathlib import Path

from tests.daemon.running import RunningDaemon
from tests.harness.other_user import NOBODY, ROOT_UID, run_as
from tests.wire.attacks import INFO

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
    return run_as(uid, ASK, str(path), INFO.hex())


def test_promise_10_the_socket_is_closed_to_another_user(daemon: RunningDaemon) -> None:
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    daemon.socket.parent.chmod(0o755)
    assert asked_as(NOBODY, daemon.socket) == "PermissionError"


def test_promise_10_another_user_is_refused_although_the_socket_is_open(daemon: RunningDaemon) -> None:
    daemon.socket.parent.chmod(0o755)
    daemon.socket.chmod(0o666)
    answer = json.loads(asked_as(NOBODY, daemon.socket))
    assert answer == {"error": "org.varlink.service.PermissionDenied", "parameters": {}}
    assert json.loads(asked_as(ROOT_UID, daemon.socket))["parameters"]["version"]
    assert daemon.info().version
