# SPDX-License-Identifier: Apache-2.0
"""The calls, answers and errors of D-Bus as plain types. Needs neither pydbus nor GLib, which only bus.py imports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
MANAGER_PATH = "/org/freedesktop/systemd1"


class BusError(Exception):
    """The base of the errors here. The text is a clause."""


class BusAway(BusError):
    """The bus or the manager cannot be reached now, or gave no answer. The request may have been carried out."""


class NoSuchUnit(BusError):
    pass


class UnitExists(BusError):
    pass


class NoSuchProcess(BusError):
    pass


class CallRefused(BusError):
    """Any other error that the service returned."""


ERRORS: dict[str, type[BusError]] = {
    "org.freedesktop.systemd1.NoSuchUnit": NoSuchUnit,
    "org.freedesktop.systemd1.UnitExists": UnitExists,
    "org.freedesktop.systemd1.NoSuchProcess": NoSuchProcess,
    "org.freedesktop.DBus.Error.UnixProcessIdUnknown": NoSuchProcess,
    # These come while the manager reloads or is replaced by another.
    "org.freedesktop.DBus.Error.NoReply": BusAway,
    "org.freedesktop.DBus.Error.Disconnected": BusAway,
    "org.freedesktop.DBus.Error.ServiceUnknown": BusAway,
    "org.freedesktop.DBus.Error.NameHasNoOwner": BusAway,
}


def user_bus_address(environ: Mapping[str, str]) -> str | None:
    """The address of the user's bus, determined as systemd's own programs do; None if the environment has none."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    return environ.get("DBUS_SESSION_BUS_ADDRESS") or (f"unix:path={runtime}/bus" if runtime else None)


class Hint(NamedTuple):
    """A sign that something may have changed, not a proof: at a reload, UnitRemoved comes for running units too."""

    kind: str
    """removed: a unit was removed. again: the connection was restored, and signals may have been lost."""
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
class BusCall:
    """A method call, by default to the service manager."""

    method: str
    signature: str
    arguments: tuple[Any, ...]
    interface: str = MANAGER
    path: str = MANAGER_PATH


OnAnswer = Callable[[Any, BusError | None], None]
