# SPDX-License-Identifier: Apache-2.0
"""The test's side of driver.py: a daemon in the namespace that starts attempts and can be killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until

STOP_LIMIT_SECONDS = 1.0
ROOT = Path(__file__).resolve().parents[2]

_numbers = itertools.count(1)

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.02; done"
SAVES = "trap 'echo saved; exit 143' TERM; echo ready; while :; do sleep 0.02; done"


class DaemonRefused(Exception):
    """The adapter raised an exception; the text begins with its name."""


@dataclass(frozen=True)
class Attempt:
    """What a daemon would keep in its journal about an attempt."""

    ref: dict[str, Any]
    folder: Path
    log: Path
    unit: str

    @property
    def shim(self) -> int:
        return int(self.ref["shim"]["pid"])

    def wait_for_line(self, text: str) -> None:
        until(lambda: text in self.log.read_text(), what=f"the log to say {text!r}")

    def record(self, name: str) -> dict[str, Any]:
        found = json.loads((self.folder / name).read_text())
        assert isinstance(found, dict)
        return found


class Daemon:
    """A process that runs driver.py inside the namespace."""

    def __init__(
        self,
        manager: UserManager,
        kind: str,
        *,
        stop_limit: float = STOP_LIMIT_SECONDS,
        env: dict[str, str] | None = None,
    ) -> None:
        self._manager = manager
        self._process = manager.popen(
            [sys.executable, "-W", "error", "-m", "tests.attempts.driver", kind, str(stop_limit)],
            env={"PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def kill(self) -> None:
        """Kills the daemon with SIGKILL."""
        self._process.kill()
        self._end()

    def close(self) -> None:
        if self._process.returncode is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(DEADLINE_SECONDS)
        finally:
            self._process.kill()
            self._end()

    def ask(self, verb: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"verb": verb, **more}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_SECONDS)
        assert ready, f"the driver did not answer {verb}"
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise DaemonRefused(f"{answer['error']}: {answer['text']}")
        return answer["value"]

    def start(self, script: str | list[str], *, until: str = "open", **more: Any) -> Attempt:
        """Starts a shell script or a command as an attempt; `until` as in driver.py."""
        number = next(_numbers)
        folder = self._manager.directory / f"job-{number}" / "attempts" / "001"
        folder.mkdir(parents=True)
        log = folder.parents[1] / "training.log"
        asked = {
            "folder": str(folder),
            "log": str(log),
            "unit": f"fluxgym-test-{os.getpid():08x}.{number:03d}.scope",
            "argv": ["/bin/sh", "-c", script] if isinstance(script, str) else script,
            "until": until,
            **more,
        }
        answer = self.ask("start", **asked)
        return Attempt(ref=answer["ref"], folder=folder, log=Path(asked["log"]), unit=asked["unit"])

    def look(self, attempt: Attempt) -> dict[str, Any]:
        found = self.ask("look", ref=attempt.ref)
        assert isinstance(found, dict)
        return found

    def conclusion(self, attempt: Attempt, *wanted: str) -> dict[str, Any]:
        """Waits until the evidence leads to one of these conclusions; returns the evidence."""

        def seen() -> dict[str, Any] | None:
            found = self.look(attempt)
            return found if found["conclusion"] in wanted else None

        return until(seen, what=f"the evidence to mean {' or '.join(wanted)}")

    def _end(self) -> None:
        self._process.wait(timeout=DEADLINE_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def waits_for(file: Path, *, then: str) -> str:
    """A script that prints `ready`, waits for a file to exist, and then runs `then`."""
    return f"echo ready; until [ -e {shlex.quote(str(file))} ]; do sleep 0.02; done; {then}"
