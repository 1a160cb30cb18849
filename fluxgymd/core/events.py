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


class Imported(Event, frozen=True, kw_only=True, tag="imported"):
    """Right behind Submitted, of a training that an older program made: what became of it before it was a job."""

    outcome: str
    """completed, stopped or failed."""
    reason: str
    """What that was concluded from."""
    failure: str | None = None
    """What a failure was: a FailureKind of the interface."""


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
    set_aside: tuple[str, ...] = ()
    """Checkpoints that were found broken, by the names that they have now."""
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
    after_checkpoint: bool = False
    """Its next complete checkpoint is waited for before anything is sent."""
    newest_checkpoint: str | None = None
    """The newest complete one at that time, empty if there was none: the next one is another. None: it was not looked
    for."""


class SightLost(Event, frozen=True, kw_only=True, tag="sight_lost"):
    """Something of the attempt may run where we cannot look; its lease stays."""

    attempt: int
    why: str


class SightRegained(Event, frozen=True, kw_only=True, tag="sight_regained"):
    """The attempt can be seen again, and it runs."""

    attempt: int


class Stuck(Event, frozen=True, kw_only=True, tag="stuck"):
    """The watchdog found that the attempt does not go on by itself. Once a hang."""

    attempt: int
    rule: str
    """Which of its rules found it (core/watchdog/verdict.py)."""
    why: str
    """One sentence with the limit in it."""
    since: float
    """The last time at which its work went on."""
    evidence: tuple[str, ...] = ()
    """What was seen, a sentence each."""
    phase: str | None = None
    step: int | None = None
    """Steps done, as the trainer told last."""
    acts: bool = False
    """It is stopped for it, whatever it does from now on; if not, it is left as it is."""


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
    failure: str | None = None
    """What a failure was: a FailureKind of the interface."""
    again: bool = False
    """It is tried again by itself, as the job's restart policy says."""
    not_before: float = 0.0
    """The earliest time of that."""


class Cancelled(Event, frozen=True, kw_only=True, tag="cancelled"):
    """Stopped by the user while nothing of it ran."""


class ResumeAsked(Event, frozen=True, kw_only=True, tag="resume_asked"):
    """Queued again by the user."""


class Held(Event, frozen=True, kw_only=True, tag="held"):
    """It waits until it is released."""


class Released(Event, frozen=True, kw_only=True, tag="released"):
    """It waits for its turn again."""


class Moved(Event, frozen=True, kw_only=True, tag="moved"):
    """Another place in the queue."""

    priority: int
    rank: float


class Edited(Event, frozen=True, kw_only=True, tag="edited"):
    """Other settings, for the attempts to come."""

    context: Context


class Barred(Event, frozen=True, kw_only=True, tag="barred"):
    """It cannot be started as it is; no attempt was made."""

    reason: str
    failure: str


class Disowned(Event, frozen=True, kw_only=True, tag="disowned"):
    """The user says that nothing of an attempt, which was lost on another machine, runs there any more."""

    attempt: int


AnyEvent = (
    Submitted
    | Imported
    | Reserved
    | Spawned
    | Placed
    | Started
    | StopAsked
    | SightLost
    | SightRegained
    | Stuck
    | Ended
    | Cancelled
    | ResumeAsked
    | Held
    | Released
    | Moved
    | Edited
    | Barred
    | Disowned
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
