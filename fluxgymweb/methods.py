# SPDX-License-Identifier: Apache-2.0
"""The methods over HTTP: `POST /api/v1/INTERFACE.METHOD` with the parameters as JSON, for every method in fluxgym's
tables. One reply is a JSON object; a stream is one JSON object per line, and if it breaks off, the last line is an
error."""

import importlib
import pkgutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import fluxgym
from fluxgym.async_client import AsyncClient
from fluxgym.errors import FluxgymError
from fluxgym.framing import MESSAGE_LIMIT
from fluxgym.methods import Method
from fluxgymweb import answers
from fluxgymweb.answers import Json, WebError

METHODS: dict[str, Method[Any, Any]] = {
    value.name: value
    for module in pkgutil.iter_modules(fluxgym.__path__)
    if module.name.endswith("methods")
    for value in vars(importlib.import_module(f"fluxgym.{module.name}")).values()
    if isinstance(value, Method)
}
"""Every method of fluxgym's tables, by its full name."""


class Caller:
    """Calls methods for requests."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def answer(self, request: Request) -> Response:
        method = METHODS.get(request.path_params["method"])
        if method is None:
            raise WebError(404, "MethodNotFound", "There is no such method.")
        parameters = read(method, await _body(request))
        if not method.stream:
            return Json(await self._client.call(method, parameters))
        replies = self._client.stream(method, parameters)
        return StreamingResponse(_lines(await anext(replies), replies), media_type="application/x-ndjson")


def read(method: Method[Any, Any], given: bytes) -> Any:
    """The parameters of a method from JSON. WebError if they are not of its types."""
    try:
        return msgspec.json.decode(given or b"{}", type=method.parameters)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebError(400, "InvalidParameter", f"The parameters of {method.name} cannot be read: {error}.") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MESSAGE_LIMIT:
            raise WebError(413, "TooLarge", f"The parameters have more than {MESSAGE_LIMIT} bytes.")
    return bytes(body)


async def _lines(first: Any, replies: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(replies):
        yield msgspec.json.encode(first) + b"\n"
        try:
            async for reply in replies:
                yield msgspec.json.encode(reply) + b"\n"
        except FluxgymError as error:
            yield msgspec.json.encode(answers.body(error)) + b"\n"
