# SPDX-License-Identifier: Apache-2.0
"""The messages about the events of all jobs (org.fluxgym.Jobs). The interface file explains the fields."""

from fluxgym.protocol.messages import Message, OpenEnum


class EventKind(OpenEnum):
    SUBMITTED = "submitted"
    IMPORTED = "imported"
    PREPARED = "prepared"
    STARTED = "started"
    STOP_ASKED = "stop_asked"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RESTARTED = "restarted"
    STUCK = "stuck"
    LOST = "lost"
    REGAINED = "regained"
    RESUMED = "resumed"
    HELD = "held"
    RELEASED = "released"
    MOVED = "moved"
    EDITED = "edited"
    WATCHDOG_SET = "watchdog_set"
    ANNOTATED = "annotated"
    RESTORED = "restored"
    OTHER = "other"
    UNKNOWN = "unknown"


class Event(Message, frozen=True, kw_only=True):
    job: str
    id: str
    at: float
    kind: EventKind
    text: str
    attempt: int | None = None
