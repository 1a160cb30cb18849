# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells the service manager, read from a real datagram socket."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fluxgymd.host.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The manager's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiving


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    with closing(Notifier()) as notifier:
        yield notifier


def received(manager: socket.socket) -> list[bytes]:
    """All datagrams that are waiting."""
    found = []
    while True:
        try:
            found.append(manager.recv(65536))
        except BlockingIOError:
            return found


def test_each_state_of_the_daemon_is_reported(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready()
    notifier.status("2 jobs run")
    notifier.beat()
    notifier.stopping()
    assert received(manager) == [b"READY=1", b"STATUS=2 jobs run", b"WATCHDOG=1", b"STOPPING=1"]


def test_the_same_status_is_reported_once(manager: socket.socket, notifier: Notifier) -> None:
    for text in ("idle", "idle", "1 job runs", "idle"):
        notifier.status(text)
    assert received(manager) == [b"STATUS=idle", b"STATUS=1 job runs", b"STATUS=idle"]


def test_a_restart_is_asked_for_only_where_the_manager_watches(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("30000000", None):
        if seconds is None:
            monkeypatch.delenv("WATCHDOG_USEC")
        else:
            monkeypatch.setenv("WATCHDOG_USEC", seconds)
        with closing(Notifier()) as notifier:
            notifier.ask_for_restart()
        assert received(manager) == ([] if seconds is None else [b"WATCHDOG=trigger"])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0", "\x0b", "\x85", "\u2028"])
def test_a_newline_in_a_status_cannot_give_the_manager_an_order(
    manager: socket.socket, notifier: Notifier, end: str
) -> None:
    notifier.status(f"my-lora{end}MAINPID=1{end}STOPPING=1")
    (datagram,) = received(manager)
    assert len(datagram.decode().splitlines()) == 1
    assert b"\0" not in datagram
    assert datagram.startswith(b"STATUS=my-lora ")


def test_a_status_in_any_script_is_reported_unchanged(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("Kätzchen 猫")
    assert received(manager) == ["STATUS=Kätzchen 猫".encode()]


def test_a_missing_manager_is_not_an_error(manager: socket.socket, notifier: Notifier, tmp_path: Path) -> None:
    manager.close()
    (tmp_path / "notify").unlink()
    notifier.ready()
    notifier.status("still here")
    notifier.beat()


def test_a_manager_that_does_not_read_blocks_nothing(manager: socket.socket, notifier: Notifier) -> None:
    def tell() -> None:
        for number in range(5000):  # more than any queue holds (net.unix.max_dgram_qlen)
            notifier.status(str(number))

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(60)
    assert not telling.is_alive()
    assert received(manager)[0] == b"STATUS=0"


def test_without_a_manager_nothing_is_reported(manager: socket.socket) -> None:
    """Only the test's own environment names the manager. The given one does not, so nothing may reach it."""
    with closing(Notifier({})) as notifier:
        notifier.ready()
        notifier.status("alone")
    assert received(manager) == []


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),  # meant for another process
    ],
)
def test_the_interval_of_the_heartbeat_comes_from_the_manager(environ: dict[str, str], seconds: float | None) -> None:
    with closing(Notifier(environ)) as notifier:
        assert notifier.watchdog_seconds == seconds
