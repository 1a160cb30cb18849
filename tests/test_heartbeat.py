# SPDX-License-Identifier: Apache-2.0
"""The heartbeat of a daemon with a write that makes no progress: withheld if the writer hangs, sent if the disk
does."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fluxgymd.core.health import LOOKS, Bus
from fluxgymd.heartbeat import Heartbeat
from fluxgymd.host.notify import Notifier
from fluxgymd.store.disk_trial import DiskTrial
from fluxgymd.store.writer import Writer
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import until_async

WATCHDOG_SECONDS = 3.0
TRIGGER = b"WATCHDOG=trigger"


async def answers(_: float) -> Bus:
    return Bus.ANSWERS


async def watch(
    home: Path, notify: Path, work: Callable[[], object], *, until_told: Callable[[list[bytes]], bool]
) -> None:
    """Sends heartbeats while a write is under way, until `until_told` accepts what the manager was told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}
        told: list[bytes] = []
        writer = Writer()
        with closing(Notifier(environ)) as notifier:
            heartbeat = Heartbeat(
                notifier,
                writer,
                DiskTrial(home),
                answers,
                last_pass=time.monotonic,
                failing=list,
                status=lambda: "well",
            )
            writing = asyncio.create_task(writer.run(work))
            beating = asyncio.create_task(heartbeat.run())

            async def enough() -> bool:
                with suppress(BlockingIOError):
                    told.append(manager.recv(65536))
                return until_told(told)

            await until_async(enough, what="enough to be told")
            assert not writing.done()
            beating.cancel()
            writing.cancel()
        writer.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The path of the socket on which the manager listens."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return tmp_path / "notify"


def test_a_writer_that_hangs_while_the_disk_answers_requests_a_restart(
    tmp_path: Path, environment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    told: list[bytes] = []

    def asked(seen: list[bytes]) -> bool:
        told[:] = seen
        return TRIGGER in seen

    try:
        asyncio.run(watch(tmp_path, environment, release.wait, until_told=asked))
    finally:
        release.set()
    assert told.count(b"WATCHDOG=1") < LOOKS, "it beat on"
    assert any(line.startswith(b"STATUS=faulty: a write has made no progress") for line in told)
    assert "a restart of the daemon is needed: a write has made no progress" in caplog.text


@pytest.mark.systemd
def test_a_hung_disk_does_not_stop_the_heartbeat(tmp_path: Path, environment: Path) -> None:
    """A restarted daemon would wait for the same disk, and until then nobody could query it."""
    volume = tmp_path / "volume"
    volume.mkdir()
    with HungVolume(volume):

        def often(seen: list[bytes]) -> bool:
            assert TRIGGER not in seen
            return seen.count(b"WATCHDOG=1") >= 3 * LOOKS

        asyncio.run(watch(volume, environment, (volume / "file").touch, until_told=often))
