# SPDX-License-Identifier: Apache-2.0
"""The page needs no network: the browser, the server and the daemon do the same with nothing but loopback."""

import subprocess
import sys
from pathlib import Path

from tests.harness.namespace import need_root
from tests.harness.waiting import DEADLINE_SECONDS

JOURNEY = "tests/web/browser/test_jobs.py::test_thirty_jobs_are_filtered_stopped_removed_and_restored"

# From linux/sockios.h and linux/if.h. A new network namespace has loopback alone, and that is down.
ALONE = """
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
assert [name for _, name in socket.if_nameindex()] == ["lo"]
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *sys.argv[1:]])
"""


def test_a_journey_passes_with_only_loopback_up(checkout: Path) -> None:
    need_root("makes a network of its own")
    ran = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", ALONE, JOURNEY],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
