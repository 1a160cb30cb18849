# SPDX-License-Identifier: Apache-2.0
"""Turns errors into HTTP responses: the interface's error with its name, message and fields, and a status code.

Errors of the server itself have names below org.fluxgym.Web and the same form.
"""

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fluxgym.errors import (
    DaemonUnreachable,
    FluxgymError,
    InterfaceNotFound,
    MethodNotFound,
    Overloaded,
    PermissionDenied,
    UnknownError,
)

_STATUS = (
    ((InterfaceNotFound, MethodNotFound), 404),
    (PermissionDenied, 403),
    ((Overloaded, DaemonUnreachable), 503),
    (UnknownError, 502),
)
_STATUS_OF_EXIT = {2: 400, 3: 404, 4: 409, 5: 507}

Q = TypeVar("Q")


class Json(Response):
    """A JSON response from a message, a dict, or bytes that are already JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else msgspec.json.encode(content)


class WebError(FluxgymError):
    """An error of the server itself."""

    def __init__(self, status: int, name: str, message: str, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.status = status
        self.name = name


def body(error: FluxgymError) -> dict[str, Any]:
    """The error in the form of an error reply of Varlink."""
    name = error.wire_name or f"org.fluxgym.Web.{error.name if isinstance(error, WebError) else type(error).__name__}"
    return {"error": name, "parameters": {**error.fields, "message": error.message}}


def status(error: FluxgymError) -> int:
    if isinstance(error, WebError):
        return error.status
    for kinds, number in _STATUS:
        if isinstance(error, kinds):
            return number
    return _STATUS_OF_EXIT.get(error.exit_status, 500)


def refusal(error: FluxgymError) -> Json:
    headers = {"Retry-After": "60"} if status(error) == 429 else None
    return Json(body(error), status_code=status(error), headers=headers)


def query(request: Request, kind: type[Q], **more: str) -> Q:
    """The query of a request, and `more`, which overrides it. WebError if they are not of this type."""
    names = [name for name, _ in request.query_params.multi_items()]
    try:
        for name in names:
            if names.count(name) > 1:
                raise msgspec.ValidationError(f"`{name}` is there more than once")
        return msgspec.convert(dict(request.query_params) | more, kind, strict=False)
    except msgspec.ValidationError as error:
        raise WebError(400, "InvalidParameter", f"The query cannot be read: {error}.") from None
