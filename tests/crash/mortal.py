# SPDX-License-Identifier: Apache-2.0
"""A daemon that dies at its failpoints, and what a test needs to see of it: which one it was, and what is left.

All rules are armed at once and the first that is met kills. So nobody has to know their order: the test takes the one
away that was met, starts the daemon again, and goes on with the same job until none is left.
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
    """The daemon is dead, or a failpoint of another process was met; the text names it."""


class MortalDaemon(RunningDaemon):
    """`rules`: failpoint -> the pass at which it kills. One that was met is armed again for its next pass, up to
    `passes`."""

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
        env = {"FLUXGYM_TRAINER_PYTHON": str(self.trainers.python), **(env or {})}
        super().__init__(folder, popen=popen, arguments=("--supervisor", supervisor, *arguments), env=env)
        self.rules = rules
        self._passes = passes or {}
        self.met: list[str] = []
        """The failpoints that were met, in their order."""
        self._seen: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self  # the first start may be its death already

    def __exit__(self, *_: object) -> None:
        """Ends what a failed test has left, without dying in it."""
        self.rules = {}
        if self.process is not None:
            self.kill()
        super().__exit__()

    def start(self) -> None:
        """Returns when it answers; Died if it came to a failpoint before."""
        rules = ",".join(f"{name}=kill:{number}" for name, number in self.rules.items())
        self.environment = {**self.environment, VARIABLE: rules}
        try:
            super().start()
        except AssertionError:
            self.look()
            raise

    def look(self) -> None:
        """Died if a failpoint was met since the last look. The daemon is dead then, whoever died first."""
        for log in (self.log, *self.home.glob("outputs/*/training.log")):
            size = self._seen.get(log, 0)
            data = log.read_bytes()[size:] if log.exists() else b""
            met = [name.decode() for name in MET.findall(data)]
            if met:
                self._seen[log] = size + len(data)
                self._bury(met)
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"fluxgymd left with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")

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
        """SIGTERM; Died if it was killed on its way out."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        process = self.process
        until(lambda: process.poll() is not None, what="the daemon to leave")
        if process.returncode == 0:
            self.process = None
        else:
            self.look()
