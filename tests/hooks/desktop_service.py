# SPDX-License-Identifier: Apache-2.0
"""A desktop's notification service on a bus, which keeps the notifications that it is asked to show."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Self

import pydbus
from gi.repository import GLib

from tests.harness.waiting import DEADLINE_SECONDS, join


@dataclass(frozen=True)
class Shown:
    application: str
    title: str
    body: str


class _Object:
    dbus = """
    <node>
      <interface name="org.freedesktop.Notifications">
        <method name="GetCapabilities"><arg direction="out" type="as"/></method>
        <method name="Notify">
          <arg direction="in" type="s"/><arg direction="in" type="u"/><arg direction="in" type="s"/>
          <arg direction="in" type="s"/><arg direction="in" type="s"/><arg direction="in" type="as"/>
          <arg direction="in" type="a{sv}"/><arg direction="in" type="i"/><arg direction="out" type="u"/>
        </method>
      </interface>
    </node>
    """

    def __init__(self, abilities: Sequence[str], shown: SimpleQueue[Shown]) -> None:
        self._abilities = list(abilities)
        self._shown = shown

    def GetCapabilities(self) -> list[str]:  # noqa: N802  the name of the specification
        return self._abilities

    def Notify(self, *arguments: Any) -> int:  # noqa: N802  likewise
        application, _, _, title, body = arguments[:5]
        self._shown.put(Shown(application, title, body))
        return 1


class DesktopService:
    """`with DesktopService(address) as desktop:`; `abilities` is its answer to GetCapabilities."""

    def __init__(self, address: str, *, abilities: Sequence[str] = ("body",)) -> None:
        self.shown: SimpleQueue[Shown] = SimpleQueue()
        self._address = address
        self._object = _Object(abilities, self.shown)
        self._context = GLib.MainContext.new()
        self._loop = GLib.MainLoop.new(self._context, False)
        self._there = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="desktop-service")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._there.wait(DEADLINE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        # As an event of its own loop: a quit() from here would be lost if the loop does not run yet.
        leave = GLib.idle_source_new()
        leave.set_callback(lambda *_: self._loop.quit())
        leave.attach(self._context)
        join(self._thread)

    def next(self) -> Shown:
        return self.shown.get(timeout=DEADLINE_SECONDS)

    def _serve(self) -> None:
        self._context.push_thread_default()
        bus = pydbus.connect(self._address)
        name, path = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
        bus.register_object(path, self._object, None)
        bus.request_name(name)
        self._there.set()
        self._loop.run()
        bus.con.close_sync(None)
        self._context.pop_thread_default()
