# SPDX-License-Identifier: Apache-2.0
"""From an event of a job to those who are to be told of it: hooks and the desktop.

Nobody waits for a hook. A few run at once, some more wait for their turn, the rest is left out and said to be; each
has a deadline. A hook is called once at most: one that fails is told in monitor.log and not tried again, and a daemon
that dies between the event and the call calls nobody when it comes back. The journal has it all (docs/hooks.md).
"""

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Coroutine, Mapping

import msgspec

from fluxgym.config import Config
from fluxgym.errors import ConfigInvalid
from fluxgym.hooks import Command, Hook
from fluxgymd.attempts.environment import job_environment
from fluxgymd.core.events import AnyEvent
from fluxgymd.core.news import news
from fluxgymd.engine import monitor
from fluxgymd.engine.book import Entry
from fluxgymd.hooks import desktop, post, program
from fluxgymd.hooks.notice import Notice, notice
from fluxgymd.lanes import THREADS
from fluxgymd.store.home import JobFolder

log = logging.getLogger(__name__)

AT_ONCE = 4
WAITING = 64
"""A hook that hangs for its whole deadline while jobs fail by the dozen fills no memory."""
LEAVE_SECONDS = 3.0
"""What runs when the daemon leaves may go on for so long: the last news is often the one that counts."""

SESSION = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")
"""What programs of the user's session need beside what a job gets, such as notify-send and systemctl --user."""


def check(config: Config, environ: Mapping[str, str]) -> None:
    """ConfigInvalid, with the place, for a hook that could not be run."""
    for event, hook in config.hooks.items():
        if isinstance(hook, Command) and shutil.which(hook.words[0], path=environ.get("PATH")) is None:
            key = f"hooks.on_{event}"
            raise ConfigInvalid(
                f"{config.values[key].source}: {key} begins with {hook.words[0]!r}, which is no executable file; "
                "it must be the path of a program, or the name of one in PATH."
            )


class Hooks:
    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._hooks = config.hooks
        self._deadline = config.hook_deadline
        self._desktop = config.notify_desktop
        self._environ = environ
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._give_up = os.eventfd(0)  # open until the process ends: a thread may still look at it
        self._leaves = False

    def tell(self, entry: Entry, event: AnyEvent) -> None:
        """Told of each event after it has become true. Returns at once, and raises nothing."""
        try:
            if entry.job is not None and (told := news(entry.job, event)) is not None:
                if self._desktop:
                    self._begin(desktop.show(f"FluxGym: {told.title}", told.detail, environ=self._environ))
                if (hook := self._hooks.get(told.event)) is not None:
                    self._call(entry.folder, hook, notice(entry, event, told))
        except Exception:
            log.exception("%s: its hooks could not be called", entry.name)

    async def close(self) -> None:
        """Lets what runs come to its end for a moment, and ends it then."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_SECONDS)
        self._leaves = True
        os.eventfd_write(self._give_up, 1)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * program.KILLED_SECONDS)
        for task in self._tasks:  # a desktop that does not answer, a volume that hangs
            task.cancel()

    def _call(self, folder: JobFolder, hook: Hook, told: Notice) -> None:
        if len(self._tasks) >= WAITING:
            self._begin(_failed(folder, told, "it was left out, as too many others wait"))
            return
        self._begin(self._run(folder, hook, told))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="hook")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, folder: JobFolder, hook: Hook, told: Notice) -> None:
        words, data = _as_program(hook, msgspec.json.encode(told))
        environ = hook_environment(self._environ)

        def run() -> str | None:
            return program.run(words, data=data, environ=environ, seconds=self._deadline, give_up=self._give_up)

        async with self._slots:
            if self._leaves:
                return
            why = await asyncio.get_running_loop().run_in_executor(THREADS, run)
        if why is not None:
            await _failed(folder, told, why)
        else:
            log.info("%s: the hook on_%s was called", folder.name, told.event)


def hook_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a hook inherits: no address of another hook, and nothing that speaks for the daemon to systemd."""
    return job_environment(environ) | {name: environ[name] for name in SESSION if name in environ}


def _as_program(hook: Hook, body: bytes) -> tuple[tuple[str, ...], bytes]:
    """The words and the standard input. By its path and isolated, the poster is the same file for every daemon."""
    if isinstance(hook, Command):
        return hook.words, body + b"\n"
    return (sys.executable, "-I", post.__file__), hook.address.encode() + b"\n" + body


async def _failed(folder: JobFolder, told: Notice, why: str) -> None:
    await monitor.note(folder, f"the hook on_{told.event} failed: {why}")
