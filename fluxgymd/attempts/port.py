# SPDX-License-Identifier: Apache-2.0
"""The port behind which attempts are run, and what every adapter shares: the gated shim.

The order is the contract (DESIGN: An attempt): spawn the shim with a closed gate, record it, place it, record that,
open the gate. If the daemon dies before the gate is opened, the shim reads an end of file and nothing was started.
An adapter signals only what it has proved to be the attempt's own (promise 6).
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxgymd.core.evidence import Evidence
from fluxgymd.core.records import Place, Placement, Process


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptSpec:
    """What is to be run."""

    job: str
    """The job's name: the field FLUXGYM_JOB of its lines in the journal."""
    unit: str
    """`fluxgym-NAME-ID.NNN.scope`."""
    folder: Path
    """attempts/NNN: the shim's files."""
    log: Path
    """training.log, appended to."""
    argv: tuple[str, ...]
    environment: dict[str, str]
    """The whole environment; FLUXGYM_ATTEMPT_ID in it is the mark of the attempt's processes."""
    cwd: Path
    stop_limit: float
    """Seconds between a stop's SIGTERM to all and its SIGKILL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRef:
    """What is known of an attempt that was made: enough to find it again after a restart of the daemon."""

    unit: str
    folder: Path
    mark: str
    """FLUXGYM_ATTEMPT_ID: 32 hex digits."""
    place: Place
    shim: Process | None
    placement: Placement | None


class Refused(Exception):
    """The attempt could not be started; nothing of it runs. The text is one sentence."""


class Gate(Protocol):
    """A spawned shim that waits. Closing the gate without opening it makes the shim leave by itself."""

    shim: Process

    def open(self) -> None: ...

    def close(self) -> None: ...


class Adapter(Protocol):
    """One way to run attempts."""

    name: str
    """scope or process: recorded with each attempt."""

    async def problem(self) -> str | None:
        """One sentence if nothing can be started at present; None if all is well."""

    async def spawn(self, spec: AttemptSpec) -> Gate:
        """The shim with its gate closed. Refused if it cannot be had."""

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        """Puts the waiting shim where it belongs and proves it. Refused if that fails."""

    async def evidence(self, ref: AttemptRef) -> Evidence:
        """The facts of now."""

    async def processes(self, ref: AttemptRef) -> tuple[Process, ...]:
        """The processes that are proved to be the attempt's, the shim among them; none where it runs elsewhere."""

    async def gone(self, ref: AttemptRef) -> None:
        """Returns when the shim may have left: a hint to look at the evidence again, never a proof."""

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        """Signals the trainer's own process. False if it is not there (any more)."""

    async def rouse(self, ref: AttemptRef) -> None:
        """Lets everything of the attempt run that was stopped or frozen: thaw and SIGCONT."""

    async def stop(self, ref: AttemptRef) -> None:
        """Ends everything of the attempt: thaw, SIGTERM to all, and SIGKILL at the limit. Returns at once."""

    async def manager_stays(self) -> bool:
        """The service manager is up and not about to leave, so a stop that it sent was somebody's wish for this
        attempt. False where there is no manager."""

    async def kill(self, ref: AttemptRef) -> None:
        """SIGKILL to everything of the attempt. Returns at once."""
