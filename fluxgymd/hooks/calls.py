# SPDX-License-Identifier: Apache-2.0
"""Notifies hooks and the desktop of a job's events.

Nothing waits for a hook. A few run at once, some more wait for their turn, and the rest are left out, which
monitor.log records. Each has a deadline. A hook is called at most once: a failure is recorded in monitor.log and not
retried, and if the daemon dies between the event and the call, the call is not made later. The journal has every
event (docs/hooks.md).
"""

import asyncio
import logging
import os
import shutil
import sys
import time
from collections.abc import Coroutine, Mapping

import msgspec

from fluxgym.config import Config
from fluxgym.errors import ConfigInvalid
from fluxgym.hooks import INSTEAD, Command, Hook
from fluxgym.protocol.machine_messages import HookResult
from fluxgymd.attempts.environment import job_environment
from fluxgymd.background.lanes import THREADS
from fluxgymd.core.journal.events import AnyEvent
from fluxgymd.core.news import news
from fluxgymd.hooks import desktop, post, program
from fluxgymd.hooks.notice import Notice, notice
from fluxgymd.hooks.trial import trial
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.store.home import JobFolder

log = logging.getLogger(__name__)

AT_ONCE = 4
WAITING = 64
"""Calls that run or wait. The bound keeps the memory small when a hook hangs while dozens of jobs fail."""
LEAVE_SECONDS = 3.0
"""How long hooks may still run when the daemon exits: the last news is often the most important."""

SESSION = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")
"""Variables that programs in the user's session, such as notify-send, need in addition to those that a job gets."""


def check(config: Config, environ: Mapping[str, str]) -> None:
    """Raises ConfigInvalid, which names the file or variable, if a hook's program is not executable."""
    for event, hook in config.hooks.items():
        if isinstance(hook, Command) and shutil.which(hook.words[0], path=environ.get("PATH")) is None:
            key = f"hooks.on_{event}"
            raise ConfigInvalid(
                f"{config.values[key].source}: {key} begins with {hook.words[0]!r}, which is not an executable file; "
                "it must be the path of a program, or the name of one in PATH."
            )


class Hooks:
    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._hooks = config.hooks
        self._deadline = config.hook_deadline
        self._desktop = config.notify_desktop
        self._environ = environ
        self._home = str(config.home)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._give_up = os.eventfd(0)  # open until the process ends: a thread may still look at it
        self._leaves = False

    def tell(self, entry: Entry, event: AnyEvent) -> None:
        """Calls the hooks for an event that has taken effect. Returns at once, and raises nothing."""
        try:
            if entry.job is not None and (told := news(entry.job, event)) is not None:
                if self._desktop:
                    self._begin(desktop.show(f"FluxGym: {told.title}", told.detail, environ=self._environ))
                name = told.event if told.event in self._hooks else INSTEAD.get(told.event)
                if name in self._hooks:
                    self._call(entry.folder, name, notice(entry, event, told))
        except Exception:
            log.exception("%s: its hooks could not be called", entry.name)

    @property
    def events(self) -> tuple[str, ...]:
        """The events whose hooks are set."""
        return tuple(self._hooks)

    async def test(self, event: str) -> HookResult:
        """Calls the hook of an event, which must be set, as a test."""
        began = time.monotonic()
        ended = await self._run_program(event, trial(event, home=self._home, now=time.time()))
        if ended is None:
            ended = program.Ended(why="the daemon exits")
        seconds = time.monotonic() - began
        return HookResult(hook=event, problem=ended.why, status=ended.status, output=ended.output, seconds=seconds)

    async def close(self) -> None:
        """Gives running hooks LEAVE_SECONDS to finish, then ends them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_SECONDS)
        self._leaves = True
        os.eventfd_write(self._give_up, 1)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * program.KILLED_SECONDS)
        for task in self._tasks:  # those that wait for a desktop that does not answer or a volume that hangs
            task.cancel()

    def _call(self, folder: JobFolder, name: str, told: Notice) -> None:
        if len(self._tasks) >= WAITING:
            self._begin(_failed(folder, name, "it was skipped because too many hooks are waiting"))
            return
        self._begin(self._run(folder, name, told))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="hook")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, folder: JobFolder, name: str, told: Notice) -> None:
        ended = await self._run_program(name, told)
        if ended is None:
            return
        why = ended.why_with_last_words
        if why is not None:
            await _failed(folder, name, why)
        else:
            log.info("%s: the hook on_%s was called", folder.name, name)

    async def _run_program(self, name: str, told: Notice) -> program.Ended | None:
        """Runs a hook's program when its turn comes. None: the daemon exits."""
        words, data = _as_program(self._hooks[name], msgspec.json.encode(told))
        environ = hook_environment(self._environ)

        def run() -> program.Ended:
            return program.run(words, data=data, environ=environ, seconds=self._deadline, give_up=self._give_up)

        async with self._slots:
            if self._leaves:
                return None
            return await asyncio.get_running_loop().run_in_executor(THREADS, run)


def hook_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a hook. It contains no hook's address, and none of the daemon's variables for systemd."""
    return job_environment(environ) | {name: environ[name] for name in SESSION if name in environ}


def _as_program(hook: Hook, body: bytes) -> tuple[tuple[str, ...], bytes]:
    """The command line of a hook and its standard input. The poster is run by its path and isolated (-I), so that
    neither PYTHONPATH nor the working directory can put another file in its place."""
    if isinstance(hook, Command):
        return hook.words, body + b"\n"
    return (sys.executable, "-I", post.__file__), hook.address.encode() + b"\n" + body


async def _failed(folder: JobFolder, name: str, why: str) -> None:
    await monitor.note(folder, f"the hook on_{name} failed: {why}")
