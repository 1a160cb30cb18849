# SPDX-License-Identifier: Apache-2.0
"""A daemon that dies at its failpoints, and what a test needs to know: which failpoint it was, and which are left.

All rules are armed at once, and the first failpoint that is met kills. Tests therefore need not know the order of
failpoints: the one that was met is disarmed, the daemon restarts, and the same job continues until no rule is left.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from fluxgymd.failpoints import VARIABLE
from tests.crash.trainers import WatchedTrainers
from tests.daemon.running import Popen, RunningDaemon, popen_here
from tests.harness.waiting import DEADLINE_SECONDS, until

MET = re.compile(rb"^failpoint ([a-z_.]+): kill -9$", re.MULTILINE)


class Died(Exception):
    """Raised when a failpoint was met, in the daemon or in another process. The text names the failpoint."""


class MortalDaemon(RunningDaemon):
    """A daemon with failpoints armed. `rules`: for each failpoint, the pass on which it kills. `passes`: for each
    failpoint, the last pass on which it kills, by default 1; until then, it is armed again whenever it is met."""

    def __init__(
        self,
        folder: Path,
        rules: dict[str, int],
        *,
        passes: Mapping[str, int] | None = None,
        supervisor: str = "process",
        popen: Popen = popen_here,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.trainers = WatchedTrainers(folder / "trainers")
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        own = {"FLUXGYM_TRAINER_PYTHON": str(self.trainers.python), "TMPDIR": str(self.temporary)}
        env = {**own, **(env or {})}
        super().__init__(folder, popen=popen, arguments=("--supervisor", supervisor, *arguments), env=env)
        self.rules = rules
        self._passes = passes or {}
        self.met: list[str] = []
        """The failpoints that were met, in order."""
        self._seen: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self  # not started here, since even the first start may meet a failpoint

    def __exit__(self, *_: object) -> None:
        """Disarms all failpoints, then ends whatever a failed test has left."""
        self.rules = {}
        if self.process is not None:
            self.kill()
        super().__exit__()

    def start(self) -> None:
        """Starts the daemon; returns when it answers. Raises Died if it met a failpoint before that."""
        rules = ",".join(f"{name}=kill:{number}" for name, number in self.rules.items())
        self.environment = {**self.environment, VARIABLE: rules}
        try:
            super().start()
        except AssertionError:
            self.look()
            raise

    def look(self) -> None:
        """Raises Died if any process met a failpoint since the last look. The daemon is dead then."""
        # Before the log is read, since a failpoint first logs that it was met, and then kills.
        left = None if self.process is None else self.process.poll()
        for log in (self.log, *self.home.glob("outputs/*/training.log")):
            size = self._seen.get(log, 0)
            data = log.read_bytes()[size:] if log.exists() else b""
            met = [name.decode() for name in MET.findall(data)]
            if met:
                self._seen[log] = size + len(data)
                self._bury(met)
        if left is not None:
            raise AssertionError(f"fluxgymd left with {left}:\n{self.log.read_text()[-4000:]}")

    def _bury(self, met: list[str]) -> None:
        for name in met:
            number = self.rules.pop(name)
            if number < self._passes.get(name, 1):
                self.rules[name] = number + 1
        self.met += met
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=DEADLINE_SECONDS)
            self.process = None
        raise Died(", ".join(met))

    def leave(self) -> None:
        """Ends the daemon with SIGTERM. Raises Died if it met a failpoint while shutting down."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        process = self.process
        until(lambda: process.poll() is not None, what="the daemon to leave")
        if process.returncode == 0:
            self.process = None
        else:
            self.look()
