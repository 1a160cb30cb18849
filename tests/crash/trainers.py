# SPDX-License-Identifier: Apache-2.0
"""The real trainer, behind a shell that notes each start and sees whether another of the same job still runs."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.running import TRAINER_PYTHON

# The lock is inherited by all that a trainer starts, so the last of them gives it back. Without an attempt it is only
# asked for its flags.
PYTHON = """#!/bin/sh
if [ -n "$FLUXGYM_ATTEMPT_ID" ]; then
    exec 9>>"{folder}/$FLUXGYM_JOB.lock"
    flock --nonblock 9 || echo "$FLUXGYM_JOB $FLUXGYM_ATTEMPT_ID" >>"{folder}/twice"
    echo "$FLUXGYM_ATTEMPT_ID" >>"{folder}/starts"
fi
exec {python} "$@"
"""


class WatchedTrainers:
    """`python` is to be the daemon's FLUXGYM_TRAINER_PYTHON."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.python = folder / "python"
        self.python.write_text(PYTHON.format(folder=folder, python=TRAINER_PYTHON))
        self.python.chmod(0o755)

    def twice(self) -> list[str]:
        """The job and the mark of each attempt whose trainer was started while another of that job ran."""
        return self._lines("twice")

    def starts(self) -> list[str]:
        """The mark of each trainer that was started."""
        return self._lines("starts")

    def _lines(self, name: str) -> list[str]:
        file = self._folder / name
        return file.read_text().splitlines() if file.exists() else []
