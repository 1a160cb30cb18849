# SPDX-License-Identifier: Apache-2.0
"""A daemon stays within its limit of descriptors, however many clients connect."""

import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, popen_here, program

DESCRIPTORS = 96


def popen_limited(command: Sequence[str | Path], env: Mapping[str, str]) -> "subprocess.Popen[str]":
    return popen_here(["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh", *command], env)


def test_promise_10_with_few_descriptors_clients_replace_one_another_and_jobs_run(folder: Path) -> None:
    with (
        RunningDaemon(folder, popen=popen_limited, arguments=("--supervisor", "process")) as daemon,
        ExitStack() as stack,
    ):
        for _ in range(2 * DESCRIPTORS):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(daemon.socket))
        daemon.submit(program("one", "exit 3"))
        assert daemon.wait("one", State.FAILED).runtime.reason == "It exited with status 3."
        assert "Too many open files" not in daemon.log.read_text()
