# SPDX-License-Identifier: Apache-2.0
"""Creates the adapters of this machine and the connection to its systemd, as choice.py chooses."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fluxgym.config import Config
from fluxgymd.attempts.choice import Choice, NoUserManager, choose
from fluxgymd.attempts.port import Adapter
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.core.health import Bus
from fluxgymd.host.bus_types import BusError, user_bus_address
from fluxgymd.host.sleep import Inhibit, InhibitRefused

if TYPE_CHECKING:
    from fluxgymd.host.bus import BusThread

UNIT_PREFIX = "fluxgym-"


class Supervisors:
    """The result of `connect`: the adapters by name, and which of them runs new attempts."""

    def __init__(self, choice: Choice, config: Config, bus: "BusThread | None") -> None:
        self.choice = choice
        self._bus = bus
        processes = ProcessAdapter(stop_limit=config.stop_limit)
        # Without systemd, an attempt in a scope is handled as processes: its mark proves which ones belong to it.
        self.adapters: dict[str, Adapter] = {"process": processes, "scope": processes}
        self.inhibit_sleep: Inhibit | None = None
        if bus is not None:
            from fluxgymd.attempts.scope import ScopeAdapter

            self.adapters["scope"] = ScopeAdapter(bus, stop_limit=config.stop_limit)
            self.inhibit_sleep = _inhibit_sleep

    async def ping(self, deadline: float) -> Bus:
        """The state of the bus thread, which has `deadline` seconds to answer."""
        if self._bus is None:
            return Bus.NONE
        if self._bus.ended:
            return Bus.ENDED
        if self._bus.state != "connected":
            return Bus.NONE
        try:
            await self._bus.ping(deadline=deadline)
        except BusError:
            return Bus.SILENT
        return Bus.ANSWERS

    async def close(self) -> None:
        if self._bus is not None:
            await self._bus.close()


async def connect(config: Config, environ: Mapping[str, str] = os.environ) -> Supervisors:
    """Creates the adapters. Raises NoUserManager if scopes are required and waiting would not make them available."""
    # SYSTEMD_EXEC_PID is this process only in a service that systemd started; terminals inherit INVOCATION_ID too.
    started_by_systemd = environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    bus, problem = (None, None) if config.supervisor == "process" else await _bus(environ)
    if bus is None and started_by_systemd and config.supervisor != "process":
        raise NoUserManager(f"systemd started the daemon, but {problem}.")
    try:
        choice = choose(config.supervisor, started_by_systemd=started_by_systemd, manager_problem=problem)
    except NoUserManager:
        if bus is not None:
            await bus.close()
        raise
    if choice.adapter == "process" and bus is not None:
        await bus.close()
        bus = None
    return Supervisors(choice, config, bus)


async def _bus(environ: Mapping[str, str]) -> "tuple[BusThread | None, str | None]":
    """The bus thread, if it can be created, and why the user's systemd does not answer, if it does not."""
    try:
        from fluxgymd.host.bus import BusThread
    except ImportError as error:
        return None, f"the module {error.name} is missing (it comes with the extra fluxgym[systemd])"
    address = user_bus_address(environ)
    if address is None:
        return None, "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where its bus is"
    bus = BusThread(address, prefix=UNIT_PREFIX)
    await bus.start()
    try:
        await bus.manager_state()
    except BusError as error:
        return bus, f"it does not answer at {address} ({error})"
    return bus, None


async def _inhibit_sleep(why: str) -> int:
    from fluxgymd.host.bus import inhibit_sleep

    try:
        return await inhibit_sleep(why)
    except BusError as error:
        raise InhibitRefused(str(error)) from None
