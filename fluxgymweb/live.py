# SPDX-License-Identifier: Apache-2.0
"""`GET /api/v1/live`: everything that a page follows, as one stream of server-sent events, since a browser opens only
six connections. docs/web.md describes the query and the events."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from fluxgym.errors import FluxgymError
from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.dataset_methods import WATCH_DATASETS, WatchDatasetsParameters, WatchDatasetsReply
from fluxgym.protocol.event_methods import EVENTS, EventsParameters
from fluxgym.protocol.machine_methods import WATCH_MACHINE, WatchMachineParameters
from fluxgym.protocol.methods import WATCH, WatchParameters, WatchReply
from fluxgym.protocol.output_methods import METRICS, MetricsParameters
from fluxgym.protocol.shared_logs import LogFeeds
from fluxgymweb import answers
from fluxgymweb.feeds import Entry, Feed
from fluxgymweb.outbox import Outbox

LOG_LINES = 1000
"""How many of the last lines a page gets if it gives no offset."""

ENDED_JOBS = 200
"""How many ended jobs a page gets; Jobs.List has the older ones."""


class Wanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The query: what a page follows, and its places in it."""

    jobs: str | None = None
    datasets: str | None = None
    machine: str | None = None
    log: str | None = None
    offset: int = -LOG_LINES
    events: str | None = None
    metrics: str | None = None
    after: str | None = None
    points: int | None = None


class Live:
    """Serves the streams of all pages, and holds what they share."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._logs = LogFeeds(client)
        self.jobs = Feed(client, WATCH, WatchParameters(limit=ENDED_JOBS), _job)
        self._datasets = Feed(client, WATCH_DATASETS, WatchDatasetsParameters(), _dataset)
        self._machine = Feed(client, WATCH_MACHINE, WatchMachineParameters(), lambda reply: ("state", reply.state))
        self._sources: dict[str, Callable[[Outbox, Wanted], Awaitable[None]]] = {
            "jobs": lambda outbox, wanted: _states(self.jobs, "jobs", outbox, wanted.jobs),
            "datasets": lambda outbox, wanted: _states(self._datasets, "datasets", outbox, wanted.datasets),
            "machine": self._follow_machine,
            "log": self._follow_log,
            "events": self._follow_events,
            "metrics": self._follow_metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        places = dict(parse_qsl(request.headers.get("last-event-id", "")))
        wanted = answers.query(request, Wanted, **places)
        outbox = Outbox(places)
        async with asyncio.TaskGroup() as group:
            asked = [name for name in self._sources if getattr(wanted, name) is not None]
            sources = [_guarded(name, self._sources[name](outbox, wanted), outbox) for name in asked]
            # The sender is last, so that its first frames hold every present state.
            tasks = [group.create_task(one) for one in (self._follow_daemon(outbox), *sources, _send(outbox, send))]
            while (await receive())["type"] != "http.disconnect":
                pass
            for task in tasks:
                task.cancel()

    async def _follow_daemon(self, outbox: Outbox) -> None:
        told: object = ()
        with self.jobs.used():
            while True:
                news = self.jobs.news
                if self.jobs.problem != told and (self.jobs.problem or self.jobs.complete):
                    told = self.jobs.problem
                    await outbox.put("daemon", {"up": told is None, "problem": told})
                await news.wait()

    async def _follow_machine(self, outbox: Outbox, _: Wanted) -> None:
        async with aclosing(self._machine.read()) as changes:
            async for change in changes:
                for state in change.values:
                    await outbox.put("machine", state)

    async def _follow_log(self, outbox: Outbox, wanted: Wanted) -> None:
        name = wanted.log or ""
        with self._logs.reader(name, wanted.offset) as feed:
            async with aclosing(feed.read(wanted.offset)) as pieces:
                async for piece in pieces:
                    data = {"name": name, "text": piece.text, "offset": piece.offset, "missing": piece.missing}
                    await outbox.put("log", data, offset=piece.offset)

    async def _follow_events(self, outbox: Outbox, wanted: Wanted) -> None:
        cursor = wanted.events or None
        replies = self._client.lasting(EVENTS, lambda: EventsParameters(after=cursor, follow=True))
        async with aclosing(replies):
            async for reply in replies:
                if reply is not None:
                    cursor = reply.cursor or cursor
                    await outbox.put("events", reply, events=cursor or "")

    async def _follow_metrics(self, outbox: Outbox, wanted: Wanted) -> None:
        name, cursor, told = wanted.metrics or "", wanted.after or None, False
        replies = self._client.lasting(
            METRICS, lambda: MetricsParameters(name=name, after=cursor, points=wanted.points, follow=True)
        )
        async with aclosing(replies):
            async for reply in replies:
                if reply is None or (told and reply.cursor == cursor and not reply.reset):
                    continue  # the job has ended, and the reopened stream had nothing new
                cursor, told = reply.cursor, True
                data = {"name": name, "metrics": reply.metrics, "cursor": cursor, "reset": reply.reset}
                await outbox.put("metrics", data, after=cursor)


async def _states(feed: Feed, name: str, outbox: Outbox, place: str | None) -> None:
    async with aclosing(feed.read(place or "")) as changes:
        async for change in changes:
            data = {"reset": change.reset, "complete": change.complete, "removed": change.removed}
            await outbox.put(name, {**data, name: change.values}, **{name: change.place})


async def _guarded(name: str, source: Awaitable[None], outbox: Outbox) -> None:
    """Runs a source. Its error is an event, and the other sources continue."""
    try:
        await source
    except FluxgymError as error:
        await outbox.put("problem", {"stream": name, **answers.body(error)})


async def _send(outbox: Outbox, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    with suppress(OSError):  # the page has gone
        async with aclosing(outbox.take()) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})


def _job(reply: WatchReply) -> Entry:
    if reply.removed is not None:
        return reply.removed, None
    return None if reply.job is None else (reply.job.context.name, reply.job)


def _dataset(reply: WatchDatasetsReply) -> Entry:
    if reply.removed is not None:
        return reply.removed, None
    return None if reply.dataset is None else (reply.dataset.name, reply.dataset)
