# SPDX-License-Identifier: Apache-2.0
"""Work for one job that fails repeatedly. A failure is logged once, and reported in the job's status and among the
daemon's problems until the work succeeds or is over. Other jobs are not affected.
"""

import logging

from fluxgym.errors import FluxgymError

log = logging.getLogger(__name__)

ATTEMPT = "running its attempt"
WATCHDOG = "a check by the watchdog"


class Faults:
    """The faults of one job."""

    __slots__ = ("_told",)  # there is one for each job

    def __init__(self) -> None:
        self._told: dict[str, str] | None = None

    def failed(self, job: str, what: str, error: Exception) -> None:
        """Logs the failure unless it is the same as before; with its traceback if it is a bug in the daemon."""
        expected = isinstance(error, FluxgymError)
        words = (str(error) if expected else f"{type(error).__name__}: {error}").rstrip(".: ")
        if self._told is None:
            self._told = {}
        if self._told.get(what) != words:
            log.error("%s: %s failed and will be retried: %s", job, what, words, exc_info=None if expected else error)
        self._told[what] = words

    def well(self, job: str, what: str) -> None:
        """Notes that the work has succeeded."""
        if self._told is not None and self._told.pop(what, None) is not None:
            log.warning("%s: %s works again", job, what)

    def forget(self, what: str) -> None:
        """Notes that the work is over, however it ended."""
        if self._told is not None:
            self._told.pop(what, None)

    @property
    def sentence(self) -> str | None:
        """What fails at present, in sentences; None if nothing does."""
        if not self._told:
            return None
        return " ".join(
            f"{what[0].upper()}{what[1:]} failed ({words}) and will be retried; see the daemon's log."
            for what, words in self._told.items()
        )
