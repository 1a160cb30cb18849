# SPDX-License-Identifier: Apache-2.0
"""`GET /api/v1/live`: everything that a page wants to follow, as one stream of server-sent events, since a browser
opens only six connections. docs/web.md describes the query and the events."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from fluxgym.async_client import AsyncClient
from fluxgym.dataset_methods import WATCH_DATASETS, WatchDatasetsParameters
from fluxgym.errors import FluxgymError
from fluxgym.methods import WATCH, WatchParameters
from fluxgymweb import answers
from fluxgymweb.answers import WebError
from fluxgymweb.daemon import lasting
from fluxgymweb.feeds import Entry, Feed
from fluxgymweb.log_feed import LogFeeds
from fluxgymweb.methods import METHODS
from fluxgymweb.outbox import FRAME_BYTES, PAUSE_SECONDS, Outbox

LOG_LINES = 1000
"""How many of the last lines a page gets that names no offset."""

ENDED_JOBS = 200
"""How many of the jobs that have ended a page gets; Jobs.List has the older ones."""

Source = Callable[[Outbox, Mapping[str, str]], Awaitable[None]]


class Live:
    """The streams of all pages, with what they share."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._logs = LogFeeds(client)
        self.jobs = Feed(client, WATCH, WatchParameters(limit=ENDED_JOBS), _job)
        self._datasets = Feed(client, WATCH_DATASETS, WatchDatasetsParameters(), _dataset)
        machine = METHODS.get("org.fluxgym.Machine.Watch")
        self._machine = None if machine is None else Feed(client, machine, machine.parameters(), _machine)
        self._sources: dict[str, Source] = {
            "jobs": lambda outbox, wanted: _states(self.jobs, "jobs", outbox, wanted),
            "datasets": lambda outbox, wanted: _states(self._datasets, "datasets", outbox, wanted),
            "machine": self._follow_machine,
            "log": self._follow_log,
            "events": self._follow_events,
            "metrics": self._follow_metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        places = dict(parse_qsl(request.headers.get("last-event-id", "")))
        wanted = dict(request.query_params) | places
        check(wanted)
        outbox = Outbox(places)
        sources = [("daemon", self._follow_daemon), *((n, s) for n, s in self._sources.items() if n in wanted)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_guarded(name, source, outbox, wanted)) for name, source in sources]
            tasks.append(group.create_task(_send(outbox, send)))
            while (await receive())["type"] != "http.disconnect":
                pass
            for task in tasks:
                task.cancel()

    async def _follow_daemon(self, outbox: Outbox, wanted: Mapping[str, str]) -> None:  # noqa: ARG002
        told: object = ()
        with self.jobs.view() as (view, _):
            while True:
                if self.jobs.problem != told and (self.jobs.problem or self.jobs.complete.is_set()):
                    told = self.jobs.problem
                    await outbox.put("daemon", {"up": told is None, "problem": told})
                view.changed.clear()
                await view.changed.wait()

    async def _follow_machine(self, outbox: Outbox, wanted: Mapping[str, str]) -> None:  # noqa: ARG002
        if self._machine is None:
            raise _unknown("org.fluxgym.Machine.Watch")
        with self._machine.view() as (view, _):
            while True:
                await view.changed.wait()
                for state in self._machine.take(view, FRAME_BYTES)[0]:
                    await outbox.put("machine", state)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _follow_log(self, outbox: Outbox, wanted: Mapping[str, str]) -> None:
        name, offset = wanted["log"], int(wanted.get("offset", -LOG_LINES))
        with self._logs.reader(name, offset) as feed:
            async with aclosing(feed.read(offset)) as pieces:
                async for piece in pieces:
                    data = {"name": name, "text": piece.text, "offset": piece.offset, "missing": piece.missing}
                    await outbox.put("log", data, offset=piece.offset)

    async def _follow_events(self, outbox: Outbox, wanted: Mapping[str, str]) -> None:
        cursor = wanted["events"] or None
        replies = self._own("org.fluxgym.Jobs.Events", lambda: {"after": cursor, "follow": True})
        async with aclosing(replies):
            async for reply in replies:
                cursor = reply.cursor or cursor
                await outbox.put("events", reply, events=cursor or "")

    async def _follow_metrics(self, outbox: Outbox, wanted: Mapping[str, str]) -> None:
        name, cursor = wanted["metrics"], wanted.get("after") or None
        points = int(wanted["points"]) if "points" in wanted else None
        told = False
        replies = self._own(
            "org.fluxgym.Jobs.Metrics", lambda: {"name": name, "after": cursor, "points": points, "follow": True}
        )
        async with aclosing(replies):
            async for reply in replies:
                if told and reply.cursor == cursor and not reply.reset:
                    continue  # the job has ended, and the stream began again with nothing new
                cursor, told = reply.cursor, True
                data = {"name": name, "metrics": reply.metrics, "cursor": cursor, "reset": reply.reset}
                await outbox.put("metrics", data, after=cursor)

    async def _own(self, name: str, parameters: Callable[[], dict[str, Any]]) -> AsyncGenerator[Any, None]:
        """A stream for one page alone."""
        method = METHODS.get(name)
        if method is None:
            raise _unknown(name)
        kind = method.parameters
        async with aclosing(lasting(self._client, method, lambda: msgspec.convert(parameters(), kind))) as replies:
            async for reply in replies:
                if reply is not None:
                    yield reply


def check(wanted: Mapping[str, str]) -> None:
    """Refuses numbers that are none."""
    for name in ("offset", "points"):
        if name in wanted and not wanted[name].removeprefix("-").isdecimal():
            raise WebError(400, "InvalidParameter", f"{name} is {wanted[name]!r}, but must be a whole number.")


async def _states(feed: Feed, name: str, outbox: Outbox, wanted: Mapping[str, str]) -> None:
    with feed.view(wanted[name]) as (view, anew):
        reset = anew
        while True:
            await view.changed.wait()
            new, gone = feed.take(view, FRAME_BYTES)
            complete = feed.complete.is_set() and not view.stale
            if new or gone or (complete and not view.complete):
                view.complete = view.complete or complete
                data = b'{"reset":%s,"complete":%s,"%s":[%s],"removed":%s}' % (
                    *(msgspec.json.encode(flag) for flag in (reset, view.complete)),
                    *(name.encode(), b",".join(new), msgspec.json.encode(gone)),
                )
                # Only a page that has seen everything can continue from here.
                await outbox.put(name, data, **({name: feed.place} if complete else {}))
                reset = False
                await asyncio.sleep(PAUSE_SECONDS)
            if view.stale:
                view.changed.set()


async def _guarded(name: str, source: Source, outbox: Outbox, wanted: Mapping[str, str]) -> None:
    """Runs a source. Its error is an event, and the other sources continue."""
    try:
        await source(outbox, wanted)
    except FluxgymError as error:
        await outbox.put("problem", {"stream": name, **answers.body(error)})


async def _send(outbox: Outbox, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    with suppress(OSError):  # the page has gone
        async with aclosing(outbox.take()) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})


def _unknown(name: str) -> WebError:
    return WebError(404, "MethodNotFound", f"There is no method {name}.")


def _job(reply: Any) -> Entry:
    if reply.removed is not None:
        return reply.removed, None
    return None if reply.job is None else (reply.job.context.name, reply.job)


def _dataset(reply: Any) -> Entry:
    if reply.removed is not None:
        return reply.removed, None
    return None if reply.dataset is None else (reply.dataset.name, reply.dataset)


def _machine(reply: Any) -> Entry:
    return "state", reply.state
