# SPDX-License-Identifier: Apache-2.0
"""The port for running attempts. What all its adapters share is the shim with its gate.

The order of a start is part of the contract: spawn the shim with its gate closed, record the shim, place it, record
the placement, open the gate. If the daemon dies before it opens the gate, the shim reads an end of file and starts
nothing. An adapter signals only processes that provably belong to the attempt (promise 6).
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxgymd.core.evidence import Evidence
from fluxgymd.core.journal.records import Place, Placement, Process


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptSpec:
    """An attempt to be started."""

    job: str
    """The job's name, which becomes the field FLUXGYM_JOB of its lines in systemd's journal."""
    unit: str
    """`fluxgym-NAME-ID.NNN.scope`."""
    folder: Path
    """attempts/NNN, the folder for the shim's files."""
    log: Path
    """training.log. Output is appended."""
    argv: tuple[str, ...]
    environment: dict[str, str]
    """The complete environment. Its FLUXGYM_ATTEMPT_ID marks the attempt's processes."""
    cwd: Path
    stop_limit: float
    """Seconds from a stop's SIGTERM to its SIGKILL."""
    log_limit: int = 0
    """Bytes of disk space that the log may take; 0: no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRef:
    """What is known about an existing attempt: enough to find it again after a restart of the daemon."""

    unit: str
    folder: Path
    mark: str
    """FLUXGYM_ATTEMPT_ID: 32 hex digits."""
    place: Place
    shim: Process | None
    placement: Placement | None
    trainer: Process | None = None
    """The journal's record, which is needed if the attempt's folder was deleted."""


class Refused(Exception):
    """The attempt could not be started, and nothing of it runs. The text is one sentence."""


class Gate(Protocol):
    """A spawned shim that waits. If the gate is closed without having been opened, the shim exits."""

    shim: Process

    def open(self) -> None: ...

    def close(self) -> None: ...


class Adapter(Protocol):
    """A way to run attempts."""

    name: str
    """`scope` or `process`; recorded with each attempt."""

    async def problem(self) -> str | None:
        """Why no attempt can be started at present, in one sentence; None if all is well."""

    async def spawn(self, spec: AttemptSpec) -> Gate:
        """Starts the shim with its gate closed. Refused if that fails."""

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        """Puts the waiting shim where it belongs and checks that it is there. Refused if that fails."""

    async def evidence(self, ref: AttemptRef) -> Evidence:
        """The facts about the attempt at this moment."""

    async def processes(self, ref: AttemptRef) -> tuple[Process, ...]:
        """The processes that provably belong to the attempt, including the shim; none if it runs elsewhere."""

    async def gone(self, ref: AttemptRef) -> None:
        """Returns when the shim may have exited. This is a hint to look at the evidence again, not a proof."""

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        """Signals the trainer's own process. False if there is none (any more)."""

    async def request(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        """Signals the process that does the training, the first one if there are several. False if it does not run,
        or if it has no handler for the signal (yet), in which case the signal would kill it. `launched`: the
        trainer's own process is a launcher, and its children do the training."""

    async def handles(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        """Whether `request` would send the signal now."""

    async def rouse(self, ref: AttemptRef) -> None:
        """Resumes all stopped or frozen processes of the attempt: thaws its cgroup and sends SIGCONT."""

    async def stop(self, ref: AttemptRef) -> None:
        """Ends all processes of the attempt: thaws them, sends SIGTERM, and SIGKILL at the stop limit. Returns at
        once."""

    async def manager_stays(self) -> bool:
        """Whether the service manager is up and not about to exit. If so, a stop that it sent was meant for this
        attempt alone. False where there is no manager."""

    async def kill(self, ref: AttemptRef) -> None:
        """Sends SIGKILL to all processes of the attempt. Returns at once."""

    async def clear(self, ref: AttemptRef) -> None:
        """Removes what was created for an attempt that never started, if no process is in it."""
