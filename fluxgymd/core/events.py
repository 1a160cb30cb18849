# SPDX-License-Identifier: Apache-2.0
"""The events of a job: the lines of its journal. Transitions only, never progress.

A field may be added with a default, an event may be added; nothing changes its meaning and nothing goes away, because
old journals are read for ever. Paths are relative to the job's home.
"""

import msgspec

from fluxgym.messages import Context
from fluxgymd.core.decoding import decode_with
from fluxgymd.core.records import ExitRecord, Place, Placement, Process, Record


class Event(Record, frozen=True, kw_only=True, tag_field="event"):
    at: float
    """Seconds since the epoch."""


class Submitted(Event, frozen=True, kw_only=True, tag="submitted"):
    """The first event of every job."""

    id: str
    context: Context
    """With every default filled in: what will be trained does not change when a default does."""
    priority: int = 0
    rank: float
    """Place in the queue among equal priorities; the time of the submit."""
    version: int = 1


class FileStamp(Record, frozen=True, kw_only=True):
    """What tells one version of a file from another."""

    inode: int
    size: int
    modified_ns: int


class Reserved(Event, frozen=True, kw_only=True, tag="reserved"):
    """The intent to start an attempt, and its lease: from here on its GPUs are taken."""

    attempt: int
    adapter: str
    unit: str
    mark: str
    place: Place
    gpus: list[str]
    log_offset: int
    metrics_offset: int
    resumed_from: str | None = None
    step: int = 0
    """Steps done at the checkpoint that it starts from."""
    final_before: FileStamp | None = None
    """The final file as it was before: one that is the same afterwards was not made by this attempt."""


class Spawned(Event, frozen=True, kw_only=True, tag="spawned"):
    """The shim waits at its gate."""

    attempt: int
    shim: Process


class Placed(Event, frozen=True, kw_only=True, tag="placed"):
    attempt: int
    placement: Placement


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """The trainer runs."""

    attempt: int
    trainer: Process


class StopAsked(Event, frozen=True, kw_only=True, tag="stop_asked"):
    """The user wants the running attempt to end."""

    attempt: int


class SightLost(Event, frozen=True, kw_only=True, tag="sight_lost"):
    """Something of the attempt may run where we cannot look; its lease stays."""

    attempt: int
    why: str


class SightRegained(Event, frozen=True, kw_only=True, tag="sight_regained"):
    """The attempt can be seen again, and it runs."""

    attempt: int


class Ended(Event, frozen=True, kw_only=True, tag="ended"):
    """Nothing of the attempt is left: that is proved, and its lease is free."""

    attempt: int
    outcome: str
    """completed, failed, stopped, interrupted or never_started."""
    reason: str
    proof: str
    """Why nothing of it can run any more."""
    exit: ExitRecord | None = None
    step: int = 0
    """Steps done, as the trainer told last."""
    checkpoint_step: int = 0
    """Steps of the newest complete checkpoint."""
    steps_lost: int = 0


class Cancelled(Event, frozen=True, kw_only=True, tag="cancelled"):
    """Stopped by the user while nothing of it ran."""


class ResumeAsked(Event, frozen=True, kw_only=True, tag="resume_asked"):
    """Queued again by the user."""


AnyEvent = (
    Submitted
    | Reserved
    | Spawned
    | Placed
    | Started
    | StopAsked
    | SightLost
    | SightRegained
    | Ended
    | Cancelled
    | ResumeAsked
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """One line of the journal, with its newline."""
    return _encoder.encode(event) + b"\n"


def decode(line: bytes) -> AnyEvent:
    """msgspec.MsgspecError if the line is no event that this version knows."""
    event: AnyEvent = decode_with(_decoder, line)
    return event
