# SPDX-License-Identifier: Apache-2.0
"""The real trainer, behind a shell script that records each start and notices if another trainer of the same job is
still running; and programs that do the same."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.running import TRAINER_PYTHON

# All processes of a trainer inherit the lock, so it is released when the last of them ends.
WATCH = """
exec 9>>"{folder}/$FLUXGYM_JOB.lock"
flock --nonblock 9 || echo "$FLUXGYM_JOB $FLUXGYM_ATTEMPT_ID" >>"{folder}/twice"
echo "$FLUXGYM_ATTEMPT_ID" >>"{folder}/starts"
"""
# Without an attempt, the trainer is only asked about its flags or a job.
PYTHON = """#!/bin/sh
if [ -n "$FLUXGYM_ATTEMPT_ID" ]; then
{watch}
fi
exec {python} "$@"
"""


class WatchedTrainers:
    """`python`: the value for the daemon's FLUXGYM_TRAINER_PYTHON."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.python = folder / "python"
        self.python.write_text(PYTHON.format(watch=self.watched(""), python=TRAINER_PYTHON))
        self.python.chmod(0o755)

    def watched(self, script: str) -> str:
        """Adds the same watch to the script of a job that is a program."""
        return WATCH.format(folder=self._folder) + script

    def twice(self) -> list[str]:
        """The job and the mark of each attempt whose trainer started while another one of that job was running."""
        return self._lines("twice")

    def starts(self) -> list[str]:
        """The mark of each trainer that started, in order."""
        return self._lines("starts")

    def _lines(self, name: str) -> list[str]:
        file = self._folder / name
        return file.read_text().splitlines() if file.exists() else []
