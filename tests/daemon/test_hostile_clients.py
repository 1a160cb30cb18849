# SPDX-License-Identifier: Apache-2.0
"""A real daemon and clients that try to use up all its resources (promise 10)."""

import resource
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from tests.daemon.running import RunningDaemon, popen_here

CLIENTS = 1100


def as_systemd_starts_it(command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Starts the daemon with 1024 descriptors, the default soft limit of a service (systemd.exec(5), LimitNOFILE)."""
    return popen_here(["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", *command], env)


def test_promise_10_more_clients_than_descriptors_do_not_stop_the_daemons_work(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CLIENTS), hard))
    process = ("--supervisor", "process")
    with RunningDaemon(folder, popen=as_systemd_starts_it, arguments=process) as daemon, ExitStack() as clients:
        first = clients.enter_context(Connection(daemon.socket))
        assert first.call(mm.INFO, m.Nothing()).version
        for _ in range(CLIENTS):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(str(daemon.socket))
        assert first.call(mm.GPUS, m.Nothing()).problem  # starts a helper process, which needs pipes
        clients.close()
        assert "Too many open files" not in daemon.log.read_text()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
