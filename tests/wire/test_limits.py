# SPDX-License-Identifier: Apache-2.0
"""If there is no more room, a client gets an error that says so, and a client that behaves finds room again."""

import socket
from contextlib import ExitStack

import pytest

from fluxgym.errors import Overloaded
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgymd.api.limits import CONNECTIONS
from tests.daemon.running import RunningDaemon
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.wire.attacks import WATCH


def test_promise_10_one_client_too_many_is_told_so_and_can_return(daemon: RunningDaemon) -> None:
    with ExitStack() as watching:
        for _ in range(CONNECTIONS):
            client = watching.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(daemon.socket))
            client.sendall(WATCH)
            assert client.recv(1)  # its call is being served
        with pytest.raises(Overloaded, match=rf"More than {CONNECTIONS} clients are connected"):
            daemon.info()
        client.close()

        def answered() -> bool:
            try:
                return bool(daemon.info().version)
            except Overloaded:
                return False

        until(answered, what="room for another client")
        assert "Traceback" not in daemon.log.read_text()


def test_promise_10_idle_clients_make_room_for_one_that_calls(daemon: RunningDaemon) -> None:
    with ExitStack() as clients:
        used = clients.enter_context(Connection(daemon.socket))
        assert used.call(mm.INFO, m.Nothing()).version
        idle = [clients.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(CONNECTIONS)]
        for client in idle:
            client.connect(str(daemon.socket))
        assert daemon.info().version
        assert used.call(mm.INFO, m.Nothing()).version  # a client that has called before keeps its connection
        idle[0].settimeout(DEADLINE_SECONDS)
        assert b"org.fluxgym.Machine.Overloaded" in idle[0].recv(4096)
