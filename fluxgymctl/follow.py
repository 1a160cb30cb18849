# SPDX-License-Identifier: Apache-2.0
"""Streams that survive a restart of the daemon: they reconnect, after longer and longer pauses, and continue.

A stream ends when the job ends or when the daemon does, and the two look alike, so only the job's state decides which
it was. The user is told once that the daemon went away. After GIVE_UP_SECONDS without an answer, DaemonUnreachable is
raised.
"""

import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from fluxgym.errors import DaemonUnreachable, NoSuchJob
from fluxgym.protocol.client import Connection
from fluxgym.protocol.event_methods import EVENTS, EventsParameters, EventsReply
from fluxgym.protocol.messages import Revision
from fluxgym.protocol.methods import (
    DESCRIBE,
    LOGS,
    WATCH,
    JobName,
    LogsParameters,
    LogsReply,
    WatchParameters,
    WatchReply,
)
from fluxgym.protocol.output_methods import METRICS, MetricsParameters, MetricsReply
from fluxgymctl.outcome import has_ended
from fluxgymctl.session import Session

GIVE_UP_SECONDS = 60.0
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

T = TypeVar("T")
Note = Callable[[str], None]
Source = Callable[[Connection], Generator[T, None, bool]]
"""Yields the replies from a connection, and returns whether the stream is complete."""


class Patience:
    """Decides how long, and after which pauses, to try to reach the daemon again after its last answer."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._gone_since: float | None = None
        self._pause = SHORTEST_PAUSE_SECONDS

    def answered(self) -> None:
        self._gone_since = None
        self._pause = SHORTEST_PAUSE_SECONDS

    def gone(self, error: DaemonUnreachable) -> None:
        """Tells the user the first time, and raises the error if the daemon has been gone for too long."""
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
            self._note(f"Lost the connection to the daemon; waiting up to {GIVE_UP_SECONDS:g} s for it to return.")
        elif now - self._gone_since > GIVE_UP_SECONDS:
            raise error

    def rest(self) -> None:
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)


def resilient(session: Session, source: Source[T], *, note: Note) -> Iterator[T]:
    """The replies of `source`, which is called again with a new connection until it is complete.

    The first connection must succeed: this does not wait for a daemon that was not there to begin with.
    """
    patience = Patience(note)
    connection = session.connect()
    while True:
        try:
            with connection:
                replies = source(connection)
                complete = yield from _told(replies, patience)
            if complete:
                return
        except DaemonUnreachable as error:
            patience.gone(error)
        connection = _reconnect(session, patience)


def _told(replies: Generator[T, None, bool], patience: Patience) -> Generator[T, None, bool]:
    """The same replies. Each of them tells `patience` that the daemon answers."""
    while True:
        try:
            reply = next(replies)
        except StopIteration as end:
            return bool(end.value)
        patience.answered()
        yield reply


def _reconnect(session: Session, patience: Patience) -> Connection:
    while True:
        patience.rest()
        try:
            return session.connect()
        except DaemonUnreachable as error:
            patience.gone(error)


def log(session: Session, name: str, offset: int, *, note: Note) -> Iterator[LogsReply]:
    """The log from byte `offset` on (negative: lines from the end) until the job has ended."""
    position = offset

    def read(connection: Connection, *, follow: bool) -> Iterator[LogsReply]:
        nonlocal position
        for piece in connection.stream(LOGS, LogsParameters(name=name, offset=position, follow=follow or None)):
            position = piece.offset
            yield piece

    def source(connection: Connection) -> Generator[LogsReply, None, bool]:
        yield from read(connection, follow=True)
        if not has_ended(connection.call(DESCRIBE, JobName(name=name)).job.runtime.state):
            return False
        # Read what was written between the end of the stream and the end of the job.
        yield from read(connection, follow=False)
        return True

    return resilient(session, source, note=note)


def metrics(session: Session, name: str, *, points: int | None, note: Note) -> Iterator[MetricsReply]:
    """The measurements of a job until it has ended. After a reconnection they continue where they were."""
    cursor: str | None = None

    def source(connection: Connection) -> Generator[MetricsReply, None, bool]:
        nonlocal cursor
        asked = MetricsParameters(name=name, after=cursor, points=points, follow=True)
        for reply in connection.stream(METRICS, asked):
            cursor = reply.cursor
            yield reply
        return True

    return resilient(session, source, note=note)


def events(session: Session, name: str | None, *, after: str | None, note: Note) -> Iterator[EventsReply]:
    """The events after a cursor, endlessly, unless the named job is removed. After a reconnection they continue where
    they left off."""
    cursor = after

    def source(connection: Connection) -> Generator[EventsReply, None, bool]:
        nonlocal cursor
        for reply in connection.stream(EVENTS, EventsParameters(after=cursor, follow=True, name=name)):
            cursor = reply.cursor or cursor
            yield reply
        return True

    return resilient(session, source, note=note)


def changes(
    session: Session, name: str | None, *, note: Note, limit: int | None = None, existed: bool = False
) -> Iterator[WatchReply]:
    """The present state and then each change, endlessly. After a reconnection the present state comes again. It
    includes only the newest `limit` of the jobs that have ended.

    If the named job was removed while there was no connection, this is reported too, provided that the job `existed`
    before the call or was seen. Otherwise NoSuchJob.
    """
    revision = Revision(instance="", number=0)
    seen = existed

    def source(connection: Connection) -> Generator[WatchReply, None, bool]:
        yield from connection.stream(WATCH, WatchParameters(name=name, limit=limit))
        return False

    try:
        for reply in resilient(session, source, note=note):
            revision, seen = reply.revision, True
            yield reply
    except NoSuchJob:
        if not seen:
            raise
        yield WatchReply(revision=revision, removed=name)
