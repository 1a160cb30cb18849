# SPDX-License-Identifier: Apache-2.0
"""A program that writes endlessly does not fill the disk: the middle of its log is deleted, and FluxGym says so."""

import os
from pathlib import Path

from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from fluxgymctl.prose import words
from tests.daemon.running import RunningDaemon, program
from tests.fluxgymctl.program import ctl
from tests.harness.waiting import until

MIB = 1 << 20
LIMIT_MIB = 16
WRITTEN = 64 * MIB
SCRIPT = f"echo the beginning; yes 0123456789abcde | head -c {WRITTEN}; echo the end; exec sleep infinity"


def taken(log: Path) -> int:
    """The disk space that the log occupies, in bytes."""
    return os.stat(log).st_blocks * 512


def replies(daemon: RunningDaemon, offset: int) -> list[m.LogsReply]:
    with Connection(daemon.socket) as connection:
        return list(connection.stream(m.LOGS, m.LogsParameters(name="endless", offset=offset)))


def test_a_runaway_log_keeps_its_beginning_its_end_and_every_offset(folder: Path) -> None:
    env = {"FLUXGYM_LOG_LIMIT_MIB": str(LIMIT_MIB)}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
        daemon.submit(program("endless", SCRIPT))
        log = daemon.folder("endless") / "training.log"
        size = len("the beginning\n") + WRITTEN + len("the end\n")
        until(lambda: log.exists() and log.stat().st_size == size, what="the program to write its log")
        until(lambda: taken(log) <= LIMIT_MIB * MIB, what="the log to be cut")

        found = replies(daemon, 0)
        gaps = [reply for reply in found if reply.missing]
        assert len(gaps) == 1
        missing = gaps[0].missing or 0
        assert sum(len(reply.text) for reply in found) + missing == size
        assert missing >= WRITTEN - LIMIT_MIB * MIB
        assert not any("\0" in reply.text for reply in found)
        assert found[0].text.startswith("the beginning\n0123")
        assert "".join(reply.text for reply in found).endswith("abcde\nthe end\n")
        assert "".join(reply.text for reply in replies(daemon, -2)) == "0123456789abcde\nthe end\n"
        assert replies(daemon, gaps[0].offset - 5)[0] == m.LogsReply(text="", offset=gaps[0].offset, missing=5)

        done = ctl("logs", "endless", socket=daemon.socket)
        assert len(done.stdout) + missing == size
        assert f"{words.size(missing)} of the log are missing here, because it outgrew log.limit_mib." in done.stderr

        told = f"{missing // MIB} MiB were dropped from its middle."
        until(lambda: any(told in reason for reason in daemon.info().degraded), what="Health to say so")
        daemon.call(m.STOP, m.StopParameters(name="endless"))
        daemon.wait("endless", State.STOPPED)
        until(lambda: daemon.info().degraded == [], what="a log that does not grow any more to be forgotten")
