# SPDX-License-Identifier: Apache-2.0
"""What is asked of D-Bus, what it tells, and what can go wrong. Needs neither pydbus nor GLib, which bus.py alone
imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
MANAGER_PATH = "/org/freedesktop/systemd1"


class BusError(Exception):
    """The root of what can go wrong. The text is a part of a sentence."""


class BusAway(BusError):
    """The bus or the manager cannot be reached at present, or gave no answer: what was asked may have been done."""


class NoSuchUnit(BusError):
    pass


class UnitExists(BusError):
    pass


class NoSuchProcess(BusError):
    pass


class CallRefused(BusError):
    """Any other answer that is an error."""


ERRORS: dict[str, type[BusError]] = {
    "org.freedesktop.systemd1.NoSuchUnit": NoSuchUnit,
    "org.freedesktop.systemd1.UnitExists": UnitExists,
    "org.freedesktop.systemd1.NoSuchProcess": NoSuchProcess,
    "org.freedesktop.DBus.Error.UnixProcessIdUnknown": NoSuchProcess,
    # While the manager is reloaded or replaced by another (daemons.md 2.6).
    "org.freedesktop.DBus.Error.NoReply": BusAway,
    "org.freedesktop.DBus.Error.Disconnected": BusAway,
    "org.freedesktop.DBus.Error.ServiceUnknown": BusAway,
    "org.freedesktop.DBus.Error.NameHasNoOwner": BusAway,
}


def user_bus_address(environ: Mapping[str, str]) -> str | None:
    """Where the user's bus should be, as systemd's own programs look for it; None if nothing says so."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    return environ.get("DBUS_SESSION_BUS_ADDRESS") or (f"unix:path={runtime}/bus" if runtime else None)


class Hint(NamedTuple):
    """Something may have changed; never a proof (UnitRemoved also comes for running units, at each reload)."""

    kind: str
    """removed: a unit was. again: the connection was made again, and signals may have been lost."""
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitFacts:
    invocation_id: str
    """32 hex digits."""
    control_group: str


class Property(NamedTuple):
    """A property of a transient unit, with its D-Bus signature."""

    name: str
    signature: str
    value: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A method call, to the service manager if nothing else is said."""

    method: str
    signature: str
    arguments: tuple[Any, ...]
    interface: str = MANAGER
    path: str = MANAGER_PATH


Answer = Callable[[Any, BusError | None], None]
