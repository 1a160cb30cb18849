# SPDX-License-Identifier: Apache-2.0
"""Talks to systemd over D-Bus: a thread with its own GLib context, and an asyncio interface to it.

Only this module imports pydbus and gi, which come with an extra, so it is imported only where they are used.

Invariants:
- The event loop is never blocked: calls enter through the thread's queue, and answers are futures with a deadline.
- No GLib object leaves the thread.
- The connection is made with `pydbus.connect`, never with `SessionBus()`, which ends the process when the bus dies
  (measured).
- The thread restores a lost connection. It does not guess which signals were lost meanwhile: a hint reports the gap,
  and the receiver looks at its units again.
"""

import asyncio
import contextlib
import html
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pydbus
from gi.repository import Gio, GLib

from fluxgymd.background.lanes import THREADS
from fluxgymd.failpoints import failpoint
from fluxgymd.host.bus_jobs import BusJobs
from fluxgymd.host.bus_types import (
    ERRORS,
    MANAGER,
    MANAGER_PATH,
    SYSTEMD,
    BusAway,
    BusCall,
    BusError,
    CallRefused,
    Hint,
    OnAnswer,
    Property,
    UnitFacts,
)

BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
PROPERTIES = "org.freedesktop.DBus.Properties"

CALL_SECONDS = 10.0
START_SECONDS = 30.0
BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MANAGER_SECONDS = 2.0
"""How long the manager may be away from its bus before the thread connects again, perhaps to a new bus."""


class BusThread:
    """A connection to the user's bus. Call `start` and `close` in the event loop."""

    def __init__(self, address: str, *, prefix: str, on_hint: Callable[[Hint], None] | None = None) -> None:
        """`prefix`: signals of other units are ignored. `on_hint` is called in the event loop."""
        self.state = "connecting"
        """connecting, connected (the manager is on the bus), reconnecting or closed. Any thread may read it."""
        self._address = address
        self._prefix = prefix
        self._on_hint = on_hint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = GLib.MainContext.new()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        # Only the thread uses the attributes below.
        self._bus: Any = None
        self._tries = 0
        self._first_try: Future[None] = Future()
        self._jobs = BusJobs()

    # -- for the event loop --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts the thread. Returns once its first try has succeeded or failed, which `state` shows."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALL_SECONDS):  # a bus may accept a connection and not answer
                await asyncio.wrap_future(self._first_try)

    async def close(self) -> None:
        if self._thread.is_alive():
            self._post(self._quit)
            await asyncio.to_thread(self._thread.join, CALL_SECONDS)

    @property
    def ended(self) -> bool:
        """Whether the thread has died without a `close`."""
        return self._thread.ident is not None and self.state != "closed" and not self._thread.is_alive()

    async def ping(self, *, deadline: float = 5.0) -> None:
        """Returns when the thread has processed all earlier requests. Raises BusAway at the deadline."""
        await self._ask(lambda answer: answer(None, None), deadline=deadline)

    async def connected(self, *, deadline: float) -> None:
        """Returns when there is a connection. Raises BusAway at the deadline."""
        try:
            async with asyncio.timeout(deadline):
                while self.state != "connected":  # noqa: ASYNC110 - set by the thread, which has no event loop
                    await asyncio.sleep(BACK_OFF_SECONDS[0])
        except TimeoutError:
            raise BusAway("the user's bus cannot be reached") from None

    async def start_transient_scope(self, name: str, properties: Sequence[Property]) -> str:
        """Creates a scope. Returns the result of its start job: `done`, or another one if it failed."""
        return str(await self._ask(lambda answer: self._start(name, properties, answer), deadline=START_SECONDS))

    async def stop_unit(self, name: str) -> None:
        """Queues the stop and does not wait for it. Thaw a frozen unit first, or its processes do not see SIGTERM."""
        await self._call(BusCall(method="StopUnit", signature="(ss)", arguments=(name, "replace")))

    async def thaw_unit(self, name: str) -> None:
        await self._call(BusCall(method="ThawUnit", signature="(s)", arguments=(name,)))

    async def kill_unit(self, name: str, number: int) -> None:
        """Signals every process of the unit."""
        await self._call(BusCall(method="KillUnit", signature="(ssi)", arguments=(name, "all", number)))

    async def unit_facts(self, name: str) -> UnitFacts:
        """Raises NoSuchUnit if the unit is not loaded. The call does not load it."""
        path = await self._call(BusCall(method="GetUnit", signature="(s)", arguments=(name,)))
        invocation = await self._property(path, "org.freedesktop.systemd1.Unit", "InvocationID")
        group = await self._property(path, "org.freedesktop.systemd1.Scope", "ControlGroup")
        return UnitFacts(invocation_id=bytes(invocation).hex(), control_group=group)

    async def manager_state(self) -> str:
        """SystemState: running, degraded, stopping, … (systemctl(1), is-system-running)."""
        return str(await self._property(MANAGER_PATH, MANAGER, "SystemState"))

    async def _property(self, path: str, interface: str, name: str) -> Any:
        call = BusCall(method="Get", signature="(ss)", arguments=(interface, name), interface=PROPERTIES, path=path)
        return await self._call(call)

    async def _call(self, call: BusCall) -> Any:
        return await self._ask(lambda answer: self._send(call, answer), deadline=CALL_SECONDS)

    async def _ask(self, work: Callable[[OnAnswer], None], *, deadline: float) -> Any:
        """Runs `work` in the thread and waits for its answer. Raises BusAway at the deadline."""
        if self.state == "closed":
            raise BusAway("the connection was closed")
        future: Future[Any] = Future()

        def answer(value: Any, error: BusError | None) -> None:
            if future.done() or not future.set_running_or_notify_cancel():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self._post(lambda: work(answer))
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise BusAway(f"there was no answer within {deadline:g} s") from None

    def _post(self, work: Callable[[], None]) -> None:
        """Queues work for the thread."""

        def once(_: Any) -> bool:
            work()
            return False

        source = GLib.idle_source_new()
        source.set_priority(GLib.PRIORITY_DEFAULT)
        source.set_callback(once)
        source.attach(self._context)

    # -- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._context.push_thread_default()
        self._connect()
        while self.state != "closed":
            failpoint("bus.turn")
            self._context.iteration(True)
        self._context.pop_thread_default()

    def _quit(self) -> None:
        self.state = "closed"
        if self._bus is not None:
            self._bus.con.close(None, None)

    def _connect(self) -> None:
        try:
            self._bus = pydbus.connect(self._address)
        except GLib.Error:
            self._again_later()
            return
        self._bus.con.connect("closed", self._on_closed)
        self._listen(SYSTEMD, MANAGER, "JobRemoved", self._on_job_removed)
        self._listen(SYSTEMD, MANAGER, "UnitRemoved", self._on_unit_removed)
        self._listen(BUS, BUS, "NameOwnerChanged", self._on_owner_changed)
        call = BusCall(method="NameHasOwner", signature="(s)", arguments=(SYSTEMD,), interface=BUS, path=BUS_PATH)
        self._send(call, lambda here, _: self._manager_is_here() if here else self._manager_is_away(), to=BUS)

    def _manager_is_here(self) -> None:
        """Marks the connection as connected: the manager is on the bus. On a bus that was just started, the manager
        may appear a moment after our connection."""
        self._send(BusCall(method="Subscribe", signature="()", arguments=()), lambda *_: None)
        self._tries = 0
        before, self.state = self.state, "connected"
        if before != "connecting":
            self._hint(Hint("again", ""))
        self._tried()

    def _manager_is_away(self) -> None:
        """Waits for the manager, which re-executes itself or has died. A successor may have another bus, so the
        connection is made again if the manager does not return soon."""
        if self.state == "connected":
            self.state = "reconnecting"
        connection = self._bus.con if self._bus is not None else None

        def look_again() -> None:
            if self.state != "connected" and self._bus is not None and self._bus.con is connection:
                self._drop()

        self._later(MANAGER_SECONDS, look_again)

    def _tried(self) -> None:
        if not self._first_try.done():
            self._first_try.set_result(None)

    def _again_later(self) -> None:
        self.state = "reconnecting"
        delay = BACK_OFF_SECONDS[min(self._tries, len(BACK_OFF_SECONDS) - 1)]
        self._tries += 1
        self._later(delay, self._connect)
        self._tried()

    def _later(self, delay: float, work: Callable[[], None]) -> None:
        def once(_: Any) -> bool:
            work()
            return False

        source = GLib.timeout_source_new(int(delay * 1000))
        source.set_callback(once)
        source.attach(self._context)

    def _listen(self, sender: str, interface: str, signal: str, handler: Callable[[Any], None]) -> None:
        self._bus.subscribe(
            sender=sender, iface=interface, signal=signal, signal_fired=lambda *seen: handler(seen[4])
        )

    def _send(self, call: BusCall, answer: OnAnswer, *, to: str = SYSTEMD) -> None:
        if self._bus is None:
            answer(None, BusAway("the user's bus cannot be reached"))
            return
        connection = self._bus.con

        def replied(_: Any, result: Any) -> None:
            try:
                values = connection.call_finish(result).unpack()
            except GLib.Error as error:
                answer(None, map_error(error))
            else:
                answer(values[0] if values else None, None)

        connection.call(
            *(to, call.path, call.interface, call.method),
            GLib.Variant(call.signature, call.arguments),
            *(None, Gio.DBusCallFlags.NO_AUTO_START, int(START_SECONDS * 1000), None, replied),
        )

    def _start(self, name: str, properties: Sequence[Property], answer: OnAnswer) -> None:
        """Calls StartTransientUnit and answers when its job ends."""
        variants = [(one.name, GLib.Variant(one.signature, one.value)) for one in properties]

        def done(result: str | None) -> None:
            answer(result, None if result is not None else BusAway("the connection to systemd was lost"))

        def queued(job: Any, error: BusError | None) -> None:
            if error is not None:
                answer(None, error)
            else:
                self._jobs.wait(job, done)

        arguments: tuple[Any, ...] = (name, "fail", variants, [])
        self._send(BusCall(method="StartTransientUnit", signature="(ssa(sv)a(sa(sv)))", arguments=arguments), queued)

    def _on_job_removed(self, values: tuple[int, str, str, str]) -> None:
        _, job, unit, result = values
        if unit.startswith(self._prefix):
            self._jobs.removed(job, result)

    def _on_unit_removed(self, values: tuple[str, str]) -> None:
        if values[0].startswith(self._prefix):
            self._hint(Hint("removed", values[0]))

    def _on_owner_changed(self, values: tuple[str, str, str]) -> None:
        """Handles a manager that was re-executed or replaced: it has lost its subscribers, and perhaps our jobs."""
        name, _, owner = values
        if name == SYSTEMD:
            self._jobs.give_up()
            if owner:
                self._manager_is_here()
            else:
                self._manager_is_away()

    def _on_closed(self, connection: Any, *_: Any) -> None:
        if self._bus is not None and self._bus.con is connection:
            self._drop()

    def _drop(self) -> None:
        """Closes the connection, fails the waits for systemd jobs, and connects again."""
        bus, self._bus = self._bus, None
        bus.con.close(None, None)
        self._jobs.give_up()
        if self.state != "closed":
            self._again_later()

    def _hint(self, hint: Hint) -> None:
        if self._on_hint is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                self._loop.call_soon_threadsafe(self._on_hint, hint)


def map_error(error: Any) -> BusError:
    """Translates an error of GLib. Only here do GLib's errors become ours."""
    name = Gio.DBusError.get_remote_error(error)
    if name is None:
        return BusAway(error.message)  # the connection itself failed
    # PyGObject hands strip_remote_error a copy, so it has no effect.
    message = error.message.removeprefix(f"GDBus.Error:{name}: ").rstrip(".")
    return ERRORS.get(name, CallRefused)(message)


async def inhibit_sleep(why: str) -> int:
    """Takes logind's sleep inhibitor: the machine does not suspend until the returned descriptor is closed.

    Raises BusError with the reason if there is no logind, or if polkit does not allow it, for instance for a user
    without a local session. The call runs in a thread of its own, which neither the daemon's work nor its exit waits
    for, since a system bus may accept the connection and not answer.
    """
    future: Future[int] = Future()

    def ask() -> None:
        try:
            held = _inhibit_sleep(why)
        except BusError as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        if future.set_running_or_notify_cancel():
            future.set_result(held)
        else:
            os.close(held)  # the answer came after the deadline

    threading.Thread(target=ask, name="inhibit-sleep", daemon=True).start()
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return await asyncio.wrap_future(future)
    except TimeoutError:
        raise BusAway(f"logind did not answer within {CALL_SECONDS:g} s") from None


def _inhibit_sleep(why: str) -> int:
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
    try:
        with pydbus.connect(address) as bus:
            (index,), descriptors = bus.con.call_with_unix_fd_list_sync(
                *("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "Inhibit"),
                GLib.Variant("(ssss)", ("sleep", "fluxgymd", why, "block")),
                *(None, Gio.DBusCallFlags.NONE, int(CALL_SECONDS * 1000), None, None),
            )
            return int(descriptors.get(index))
    except GLib.Error as error:
        raise map_error(error) from None


async def notify_desktop(address: str, title: str, body: str) -> None:
    """Shows a notification through the service on the bus at `address` (org.freedesktop.Notifications, Desktop
    Notifications Specification 1.2). Raises BusError if there is none. As with the inhibitor, nothing waits for the
    thread that makes the call."""
    asked = asyncio.get_running_loop().run_in_executor(THREADS, lambda: _notify_desktop(address, title, body))
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await asyncio.shield(asked)
    except TimeoutError:
        asked.add_done_callback(lambda late: late.exception())
        raise BusAway(f"the desktop did not answer within {CALL_SECONDS:g} s") from None


def _notify_desktop(address: str, title: str, body: str) -> None:
    service = ("org.freedesktop.Notifications", "/org/freedesktop/Notifications", "org.freedesktop.Notifications")
    rest = (None, Gio.DBusCallFlags.NONE, int(CALL_SECONDS * 1000), None)
    try:
        with pydbus.connect(address) as bus:
            (abilities,) = bus.con.call_sync(*service, "GetCapabilities", None, *rest).unpack()
            # A service that understands markup would take a `<` in the text as the beginning of a tag.
            text = html.escape(body, quote=False) if "body-markup" in abilities else body
            arguments: tuple[Any, ...] = ("FluxGym", 0, "", title, text, [], {}, -1)
            bus.con.call_sync(*service, "Notify", GLib.Variant("(susssasa{sv}i)", arguments), *rest)
    except GLib.Error as error:
        raise map_error(error) from None
