# SPDX-License-Identifier: Apache-2.0
"""The commands of CONTRIBUTING.md for running your own daemon beside an installed one, exactly as written there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.daemon.running import ROOT
from tests.harness.waiting import DEADLINE_SECONDS, until

COMMANDS = re.compile(r"^    (FLUXGYM_\S+=.*/(fluxgymd|fluxgymctl list))$", re.MULTILINE)


def test_the_instructions_for_your_own_daemon_work_as_written(tmp_path: Path) -> None:
    daemon, client = (found[0] for found in COMMANDS.findall((ROOT / "CONTRIBUTING.md").read_text()))
    user = f"test-{os.getpid()}"
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("FLUXGYM_", "XDG_", "DBUS_"))}
    environ |= {"USER": user, "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    (tmp_path / ".venv").symlink_to(sys.prefix)

    def lists() -> bool:
        command = ["sh", "-c", client]
        asked = subprocess.run(
            command, cwd=tmp_path, env=environ, check=False, stderr=subprocess.DEVNULL, timeout=DEADLINE_SECONDS
        )
        return asked.returncode == 0

    running = subprocess.Popen(["sh", "-c", daemon], cwd=tmp_path, env=environ, start_new_session=True)
    try:
        until(lambda: running.poll() is not None or lists(), what="it to answer")
        assert running.poll() is None, "it left by itself"
        assert (tmp_path / "outputs").is_dir(), "its home is the folder in which it was started"
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(timeout=DEADLINE_SECONDS)
        shutil.rmtree(Path("/tmp") / f"mine-{user}", ignore_errors=True)
