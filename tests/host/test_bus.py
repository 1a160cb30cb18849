# SPDX-License-Identifier: Apache-2.0
"""The bus thread on its own: what it reports when nobody answers, and how it recovers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from fluxgymd.host import bus as bus_module
from fluxgymd.host.bus import BusThread, inhibit_sleep
from fluxgymd.host.bus_types import BusAway, BusError, Hint, NoSuchUnit, user_bus_address
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.systemd


@contextlib.asynccontextmanager
async def connected(manager: UserManager, hints: list[Hint] | None = None) -> AsyncIterator[BusThread]:
    seen = [] if hints is None else hints
    bus = BusThread(manager.environment["DBUS_SESSION_BUS_ADDRESS"], prefix="fluxgym-", on_hint=seen.append)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.close()


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


def test_bus_errors_are_mapped_to_our_own_classes(user_manager: UserManager) -> None:
    async def work() -> None:
        async with connected(user_manager) as bus:
            with pytest.raises(NoSuchUnit, match=r"^Unit fluxgym-no\.scope not loaded$"):
                await bus.unit_facts("fluxgym-no.scope")
            assert "fluxgym-no.scope" not in user_manager.units(), "asking for a unit does not load it"
            with pytest.raises(BusError):
                await bus.kill_unit("not a unit", signal.SIGTERM)

    run(work())


def test_a_manager_that_does_not_answer_delays_nothing(user_manager: UserManager) -> None:
    async def work() -> None:
        async with connected(user_manager) as bus:
            os.kill(user_manager.pid, signal.SIGSTOP)
            try:
                asking = asyncio.create_task(bus.manager_state())
                await bus.ping(deadline=DEADLINE_SECONDS)
                assert not asking.done()
            finally:
                os.kill(user_manager.pid, signal.SIGCONT)
            assert await asking in ("running", "degraded")

    run(work())


def test_the_bus_reconnects_and_says_so(user_manager: UserManager) -> None:
    async def work() -> None:
        hints: list[Hint] = []
        async with connected(user_manager, hints) as bus:
            await asyncio.to_thread(user_manager.kill)
            with pytest.raises(BusAway):
                await bus.manager_state()
            await asyncio.to_thread(until, lambda: bus.state == "reconnecting", what="the loss to be seen")
            await bus.ping(deadline=DEADLINE_SECONDS)
            await asyncio.to_thread(user_manager.start)
            await bus.connected(deadline=DEADLINE_SECONDS)
            assert await bus.manager_state() in ("running", "degraded")
            await asyncio.to_thread(until, lambda: Hint("again", "") in hints, what="the hint")

    run(work())


def test_it_starts_without_a_bus_and_says_what_is_missing(tmp_path: Path) -> None:
    async def work() -> None:
        bus = BusThread(f"unix:path={tmp_path}/nobody", prefix="fluxgym-")
        await bus.start()
        assert bus.state == "reconnecting"
        with pytest.raises(BusAway, match="the user's bus cannot be reached"):
            await bus.manager_state()
        await bus.ping()
        await bus.close()
        with pytest.raises(BusAway, match="closed"):
            await bus.ping()

    run(work())


def test_a_bus_without_a_manager_does_not_count_as_one(tmp_path: Path) -> None:
    address = f"unix:path={tmp_path}/bus"
    command = ["dbus-daemon", "--session", "--nofork", f"--address={address}", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as bare:
        try:
            assert bare.stdout is not None
            bare.stdout.readline()

            async def work() -> None:
                bus = BusThread(address, prefix="fluxgym-")
                await bus.start()
                assert bus.state == "reconnecting"
                with pytest.raises(BusAway):
                    await bus.manager_state()
                await bus.close()

            run(work())
        finally:
            bare.kill()


def test_a_refused_sleep_inhibitor_says_why(
    user_manager: UserManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    with pytest.raises(BusAway, match="Could not connect"):
        asyncio.run(inhibit_sleep("a test"))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", user_manager.environment["DBUS_SESSION_BUS_ADDRESS"])
    with pytest.raises(BusAway, match=r"org\.freedesktop\.login1"):
        asyncio.run(inhibit_sleep("a test"))


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/b", "XDG_RUNTIME_DIR": "/r"}, "unix:path=/b"),
        ({"XDG_RUNTIME_DIR": "/r"}, "unix:path=/r/bus"),
        ({}, None),
    ],
)
def test_the_address_of_the_bus_is_found(environ: dict[str, str], address: str | None) -> None:
    assert user_bus_address(environ) == address


def test_a_silent_system_bus_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the caller, which is a scheduler pass, nor the shutdown of the event loop waits for an answer."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
        monkeypatch.setattr(bus_module, "CALL_SECONDS", 0.2)

        async def work() -> None:
            async with asyncio.timeout(DEADLINE_SECONDS):
                with pytest.raises(BusAway, match=r"logind did not answer within 0\.2 s"):
                    await inhibit_sleep("a test")

        asyncio.run(work())
