# SPDX-License-Identifier: Apache-2.0
"""Whether linger is enabled, read from logind's real paths in a mount namespace of the test's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.namespace import need_root
from tests.harness.waiting import DEADLINE_SECONDS

TELL = "from fluxgymd.host.linger import linger; print(linger().value)"


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        ("", "unknown"),  # no logind
        ("mkdir -p /run/systemd/seats", "disabled"),
        ("mkdir -p /run/systemd/seats && touch /var/lib/systemd/linger/$(id -un)", "enabled"),
        ("mkdir -p /run/systemd/seats && touch /var/lib/systemd/linger/somebody-else", "disabled"),
    ],
)
def test_linger_is_reported_as_logind_has_it(checkout: Path, prepare: str, told: str) -> None:
    need_root("makes a mount namespace")
    script = f"""
        set -e
        mount -t tmpfs none /run
        mkdir -p /var/lib/systemd && mount -t tmpfs none /var/lib/systemd && mkdir /var/lib/systemd/linger
        {prepare or ":"}
        exec "$0" -c "$1"
    """
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable, TELL]
    done = subprocess.run(
        command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True, timeout=DEADLINE_SECONDS
    )
    assert done.stdout == f"{told}\n"
