# SPDX-License-Identifier: Apache-2.0
"""The events of a job, which are the lines of its journal. They record transitions, never progress.

An event may be added, and a field with a default. Nothing may be removed or change its meaning, because old journals
must remain readable. Paths are relative to the job's home.
"""

import msgspec

from fluxgym.protocol.messages import Annotation, Context, WatchdogMode
from fluxgymd.core.journal.decoding import decode_with
from fluxgymd.core.journal.records import (
    Energy,
    ExitRecord,
    Number,
    Place,
    Placement,
    Process,
    Rank,
    Record,
    WallClock,
)


class Event(Record, frozen=True, kw_only=True, tag_field="event"):
    at: WallClock
    """Seconds since the epoch."""


class CopiedPart(Record, frozen=True, kw_only=True):
    """The pictures of one part. The fields are those of Copied."""

    pictures: int
    names: str
    dataset: str | None = None
    revision: int | None = None


class Copied(Record, frozen=True, kw_only=True):
    """The pictures that were copied at the submit."""

    pictures: int
    names: str
    """A hash of their names (snapshots/contents.py); for a job with parts, of the hashes of its parts."""
    dataset: str | None = None
    """The stored dataset that they are from; None: a folder, or a version that had no stored datasets."""
    revision: int | None = None
    """The revision of that dataset."""
    parts: tuple[CopiedPart, ...] = ()
    """For a job with parts, each of them in its order; `dataset` and `revision` are None then."""


class Submitted(Event, frozen=True, kw_only=True, tag="submitted"):
    """The first event of every job."""

    id: str
    context: Context
    """All defaults are filled in, so a later change of a default doesn't change the training."""
    priority: int = 0
    rank: Rank
    """Place in the queue among jobs of the same priority: the time of the submit, but more than the rank of all jobs
    that waited then."""
    number: Number = 0
    """Number of the submit in this home, independent of the clock. 0: imported, or from a version without numbers."""
    copied: Copied | None = None
    """None: a program, imported, or from a version that didn't record it."""
    step: int = 0
    """Steps done at the other job's checkpoint that it starts from (`resume_from` in its settings)."""
    version: int = 1


class Imported(Event, frozen=True, kw_only=True, tag="imported"):
    """Follows Submitted if an older program ran the training: how it ended before it became a job."""

    outcome: str
    """completed, stopped or failed."""
    reason: str
    """The evidence for the outcome."""
    failure: str | None = None
    """The kind of a failure: a FailureKind of the interface."""


class FileStamp(Record, frozen=True, kw_only=True):
    """Distinguishes versions of a file."""

    inode: int
    size: int
    modified_ns: int


class Reserved(Event, frozen=True, kw_only=True, tag="reserved"):
    """The intent to start an attempt, with its lease: from this event on, its GPUs are taken."""

    attempt: int
    adapter: str
    unit: str
    mark: str
    place: Place
    gpus: list[str]
    log_offset: int
    metrics_offset: int
    log_inode: int | None = None
    """Identifies the log that the trainer writes to: a file that replaces it says nothing about the attempt. None:
    not known."""
    metrics_inode: int | None = None
    """The same for the file to which the trainer reports its progress."""
    resumed_from: str | None = None
    """The checkpoint that the attempt starts from; None: it starts at step 0."""
    step: int = 0
    """Steps done at that checkpoint."""
    set_aside: tuple[str, ...] = ()
    """Broken checkpoints, under their new names."""
    final_before: FileStamp | None = None
    """The final file before the attempt: if it is the same afterwards, the attempt didn't write it."""
    temporary: str | None = None
    """The folder for temporary files, on the machine where the attempt runs."""


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
    """The user asked to stop the running attempt."""

    attempt: int
    after_checkpoint: bool = False
    """The stop waits for the next complete checkpoint."""
    newest_checkpoint: str | None = None
    """The newest complete checkpoint at that time, which the next one must differ from; empty if there was none.
    None: not determined."""


class Unsupervised(Event, frozen=True, kw_only=True, tag="unsupervised"):
    """The shim is gone without an exit record and the trainer keeps running: its exit status will not be known."""

    attempt: int


class SightLost(Event, frozen=True, kw_only=True, tag="sight_lost"):
    """Something of the attempt may run where FluxGym can't see it; the job keeps its lease."""

    attempt: int
    why: str


class SightRegained(Event, frozen=True, kw_only=True, tag="sight_regained"):
    """FluxGym can see the attempt again, and it runs."""

    attempt: int


class HangFound(Event, frozen=True, kw_only=True, tag="stuck"):
    """The watchdog found that the attempt is stuck. Written once for each hang."""

    attempt: int
    rule: str
    """The rule that found the hang (core/watchdog/verdict.py)."""
    why: str
    """One sentence that names the limit."""
    since: WallClock
    """When the clock of that rule began to run."""
    evidence: tuple[str, ...] = ()
    """What the watchdog saw, a sentence each."""
    phase: str | None = None
    step: int | None = None
    """Steps done, as last reported by the trainer."""
    acts: bool = False
    """The attempt is stopped because of the hang, whatever it does from now on; otherwise it is left alone."""


class Ended(Event, frozen=True, kw_only=True, tag="ended"):
    """Provably nothing of the attempt is left, and its lease is free."""

    attempt: int
    outcome: str
    """completed, failed, stopped, interrupted or never_started."""
    reason: str
    proof: str
    """Why nothing of the attempt can run any more."""
    exit: ExitRecord | None = None
    step: int = 0
    """Steps done, as last reported by the trainer."""
    checkpoint_step: int = 0
    """Steps of the newest complete checkpoint."""
    steps_lost: int = 0
    """Steps that have to be trained again, because no checkpoint holds them."""
    failure: str | None = None
    """The kind of a failure: a FailureKind of the interface."""
    again: bool = False
    """The job is retried automatically, as its restart policy says."""
    not_before: WallClock = 0.0
    """The earliest time of the retry; 0: at once."""
    log_size: int | None = None
    """Bytes of training.log at the end."""
    energy: Energy | None = None
    """Watt hours that the GPUs used in the attempt (core/energy.py); None: unknown."""


class Cancelled(Event, frozen=True, kw_only=True, tag="cancelled"):
    """The user stopped the job while it waited."""


class ResumeAsked(Event, frozen=True, kw_only=True, tag="resume_asked"):
    """The user queued the job again."""


class Held(Event, frozen=True, kw_only=True, tag="held"):
    """The job waits until the user releases it."""


class Released(Event, frozen=True, kw_only=True, tag="released"):
    """The job waits for its turn again."""


class Moved(Event, frozen=True, kw_only=True, tag="moved"):
    """The job got another place in the queue."""

    priority: int
    rank: Rank


class Edited(Event, frozen=True, kw_only=True, tag="edited"):
    """The job got other settings, for its next attempts."""

    context: Context


class WatchdogSet(Event, frozen=True, kw_only=True, tag="watchdog_set"):
    """The user set, with immediate effect, what to do about a hang."""

    mode: WatchdogMode
    until: WallClock | None = None
    """When the mode in the job's settings applies again; None: `mode` replaces it."""


class Barred(Event, frozen=True, kw_only=True, tag="barred"):
    """The job can't be started as it is; there was no attempt."""

    reason: str
    failure: str


class Disowned(Event, frozen=True, kw_only=True, tag="disowned"):
    """The user says that nothing runs any more of an attempt that was lost."""

    attempt: int


class Annotated(Event, frozen=True, kw_only=True, tag="annotated"):
    """The user changed the notes about the job."""

    annotation: Annotation | None = None
    """All notes as of now; None: there are none."""


class Restored(Event, frozen=True, kw_only=True, tag="restored"):
    """The job was removed, and then restored from the trash."""

    removed_at: WallClock


AnyEvent = (
    Submitted
    | Imported
    | Reserved
    | Spawned
    | Placed
    | Started
    | StopAsked
    | Unsupervised
    | SightLost
    | SightRegained
    | HangFound
    | Ended
    | Cancelled
    | ResumeAsked
    | Held
    | Released
    | Moved
    | Edited
    | WatchdogSet
    | Barred
    | Disowned
    | Annotated
    | Restored
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """A line of the journal, with its newline."""
    return _encoder.encode(event) + b"\n"


def decode(line: bytes) -> AnyEvent:
    """The event on a line of the journal. msgspec.MsgspecError if this version doesn't know it."""
    event: AnyEvent = decode_with(_decoder, line)
    return event
