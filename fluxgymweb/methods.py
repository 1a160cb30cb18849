# SPDX-License-Identifier: Apache-2.0
"""The methods over HTTP: `POST /api/v1/INTERFACE.METHOD` with the parameters as JSON, for every method in fluxgym's
tables. A single reply is a JSON object; a stream is one JSON object per line, and if it fails, the last line is an
error."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fluxgym.errors import FluxgymError, NoSuchJob
from fluxgym.protocol import methods as m
from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.framing import MESSAGE_LIMIT
from fluxgym.protocol.messages import Context, OptionType
from fluxgym.protocol.method_table import METHODS
from fluxgym.protocol.methods import Method
from fluxgym.protocol.paths_and_programs import CONTEXTS, refused
from fluxgymweb import answers
from fluxgymweb.answers import Json, WebError


class Caller:
    """Calls the methods that requests name."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def answer(self, request: Request) -> Response:
        method = METHODS.get(request.path_params["method"])
        if method is None:
            raise WebError(404, "MethodNotFound", "There is no such method; docs/web.md says how to call one.")
        parameters = read(method, await _body(request))
        await self._check(request, parameters)
        if not method.stream:
            return Json(await self._client.call(method, parameters))
        return await lines(self._client.stream(method, parameters))

    async def _check(self, request: Request, parameters: Any) -> None:
        """Refuses what the page cannot set. `like` and `preset` in the query name jobs and presets whose values may
        be reused."""
        found = refused(parameters, [], set())
        given = [value for name in CONTEXTS if isinstance(value := getattr(parameters, name, None), Context)]
        if given and (found is not None or any(context.trainer_options for context in given)):
            options = await self._client.call(m.TRAINER_OPTIONS, m.Nothing())
            paths = {option.name for option in options.options if option.type is OptionType.PATH}
            found = refused(parameters, await self._known(request, given), paths)
        if found is not None:
            raise WebError(
                403,
                "NotFromThePage",
                f"The page cannot set {found}, since it may name a program or a path; use fluxgymctl.",
                parameter=found,
            )

    async def _known(self, request: Request, given: list[Context]) -> list[Context]:
        names = {*request.query_params.getlist("like"), *(context.name for context in given)}
        continued = {context.name: context.resume_from for context in given if context.resume_from is not None}
        known = []
        for name in names | {origin.job for origin in continued.values()}:
            try:
                known.append((await self._client.call(m.DESCRIBE, m.JobName(name=name))).job.context)
            except NoSuchJob:  # the job that is being submitted
                continue
        for name, origin in continued.items():  # with the copies of the other job's pictures
            asked = Context(name=name, resume_from=origin)
            known.append((await self._client.call(m.COMPOSE, m.ComposeParameters(job=asked))).job)
        for name in request.query_params.getlist("preset"):
            async with aclosing(self._client.stream(m.PRESETS, m.PresetsParameters(name=name))) as replies:
                known += [reply.preset.settings async for reply in replies if reply.preset is not None]
        return known


def read(method: Method[Any, Any], given: bytes) -> Any:
    """Decodes the parameters of a method from JSON. WebError if their types do not match."""
    try:
        return msgspec.json.decode(given or b"{}", type=method.parameters)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebError(400, "InvalidParameter", f"The parameters of {method.name} cannot be read: {error}.") from None


async def lines(replies: AsyncGenerator[Any, None]) -> StreamingResponse:
    """A response with a stream's replies. Raises an error that comes instead of the first reply."""
    return StreamingResponse(_lines(await anext(replies), replies), media_type="application/x-ndjson")


async def _lines(first: Any, replies: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(replies):
        yield msgspec.json.encode(first) + b"\n"
        try:
            async for reply in replies:
                yield msgspec.json.encode(reply) + b"\n"
        except FluxgymError as error:
            yield msgspec.json.encode(answers.body(error)) + b"\n"


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MESSAGE_LIMIT:
            raise WebError(413, "TooLarge", f"The parameters have more than {MESSAGE_LIMIT} bytes.")
    return bytes(body)
