# SPDX-License-Identifier: Apache-2.0
"""A daemon that gets all kinds of messages, and checks of what must hold meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from fluxgymd.store.home import Home
from tests.daemon.running import RunningDaemon
from tests.fuzz import answers
from tests.fuzz.messages import Conversation
from tests.fuzz.served import Served
from tests.fuzz.talking import converse
from tests.harness.waiting import until
from tests.wire.observing import process_of, program

HONEST = "honest"
"""The job that the honest client asks about. No message names it."""
STANDING = ("waiting", "ended")
"""Jobs for the messages to use: one that is held and one that is over."""


class Attacked:
    """A daemon with its jobs and the honest client. Use it as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(tempfile.mkdtemp(prefix="fg-"))
            stack.callback(shutil.rmtree, self._folder)
            self.daemon = stack.enter_context(RunningDaemon(self._folder, arguments=("--supervisor", "process")))
            self.daemon.submit(program(HONEST, held=True))
            self._stand()
            self._files = self._around_the_jobs()
            self._served = Served()
            self._served.measure_quiet(self.daemon, self.rss, job=HONEST)
            self._honest = stack.enter_context(ExitStack())
            self._honest.enter_context(self._served.measured(self.daemon, job=HONEST))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def rss(self) -> int:
        """The daemon's memory in bytes."""
        return process_of(self.daemon).memory_info().rss

    def take(self, conversation: Conversation) -> None:
        """Sends the conversation; raises an AssertionError if an answer is not as it must be."""
        received = converse(
            self.daemon.socket,
            conversation.parts,
            may_leave=lambda heard: answers.may_leave(conversation, heard),
            first=self.daemon.info,
        )
        wrong = answers.fault(conversation, received)
        assert wrong is None, f"{wrong}\nsent: {conversation}"

    def check(self) -> None:
        """Asserts that the daemon is well and that only requested jobs and files exist. Restores the standing
        jobs."""
        log = self.daemon.log.read_text(errors="replace")
        assert "Traceback" not in log, f"the daemon failed:\n{log[-4000:]}"
        until(lambda: not self._unasked(), what=f"nothing to be left: {self._unasked()}")
        self._served.check_memory(self.rss)
        self._stand()
        assert self._around_the_jobs() == self._files, "there are files that nobody asked for"

    def finish(self) -> Served:
        """The last check and the measurements. Call it once, at the end of the `with` block."""
        self.check()
        self._honest.close()
        return self._served

    def _stand(self) -> None:
        """Removes all jobs but the honest client's, and submits the standing jobs again."""
        self.daemon.call(mm.CONTINUE, m.Nothing())
        for job in self.daemon.jobs():
            if job.context.name != HONEST:
                self.daemon.remove(str(job.context.name))
        for name in STANDING:
            self.daemon.submit(program(name, held=name == "waiting"))
        self.daemon.wait("ended", State.FAILED)

    def _unasked(self) -> set[str]:
        """Folders that are not jobs, and jobs without a folder."""
        home = Home(self.daemon.home)
        found = {path.name for path in home.outputs.iterdir() if path != home.shared_pictures}
        return found ^ {str(job.context.name) for job in self.daemon.jobs()}

    def _around_the_jobs(self) -> set[Path]:
        """All paths outside the folders of jobs, datasets and presets, which any message may create."""
        made = {self.daemon.home / name for name in ("outputs", "datasets", "presets")}
        return {path for path in self._folder.rglob("*") if not made & {path, *path.parents}}
