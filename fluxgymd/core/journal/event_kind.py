# SPDX-License-Identifier: Apache-2.0
"""The kind of a job's event on the wire. Pure."""

from fluxgym.protocol.event_messages import EventKind
from fluxgymd.core.journal import events as e

_KINDS: dict[type[e.Event], EventKind] = {
    e.Submitted: EventKind.SUBMITTED,
    e.Imported: EventKind.IMPORTED,
    e.Reserved: EventKind.PREPARED,
    e.Started: EventKind.STARTED,
    e.StopAsked: EventKind.STOP_ASKED,
    e.SightLost: EventKind.LOST,
    e.SightRegained: EventKind.REGAINED,
    e.HangFound: EventKind.STUCK,
    e.Cancelled: EventKind.CANCELLED,
    e.ResumeAsked: EventKind.RESUMED,
    e.Held: EventKind.HELD,
    e.Released: EventKind.RELEASED,
    e.Moved: EventKind.MOVED,
    e.Edited: EventKind.EDITED,
    e.WatchdogSet: EventKind.WATCHDOG_SET,
    e.Barred: EventKind.FAILED,
    e.Annotated: EventKind.ANNOTATED,
    e.Restored: EventKind.RESTORED,
}
_OUTCOMES = {
    "completed": EventKind.COMPLETED,
    "failed": EventKind.FAILED,
    "stopped": EventKind.STOPPED,
    "interrupted": EventKind.INTERRUPTED,
}


def kind(event: e.AnyEvent) -> EventKind:
    if not isinstance(event, e.Ended):
        return _KINDS.get(type(event), EventKind.OTHER)
    if event.again and event.outcome in ("failed", "interrupted"):
        return EventKind.RESTARTED
    return _OUTCOMES.get(event.outcome, EventKind.OTHER)
