# SPDX-License-Identifier: Apache-2.0
"""Turns a frame into a call: its method, its parameters, and how it is to be answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fluxgym.errors import ExpectedMore, InterfaceNotFound, MethodNotFound
from fluxgym.protocol.framing import FrameError, decode
from fluxgym.protocol.methods import INTERFACES, Method
from fluxgym.quoting import short
from fluxgymd.api.parameters import convert

BRACKETS = 20_000
COMMAS = 200_000
"""How many opening brackets and colons, and how many commas, one message may contain. The parser's time grows with
its lists, objects and values: a message of 1 MiB that consists of nothing else stops the event loop for 0.1 s, one
within these bounds for 20 ms."""

Send = Callable[[msgspec.Struct | msgspec.Raw], Awaitable[None]]
Handler = Callable[[Any, Send], Awaitable[msgspec.Struct]]
"""Answers a call with its last reply. A stream sends the earlier replies through `Send`, which waits while the client
does not read. A reply that goes to many clients may already be JSON (Raw)."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method and its handler."""

    method: Method[Any, Any]
    handler: Handler


Routes = Mapping[str, Route]
"""By the full name of the method."""


@dataclass(frozen=True, slots=True)
class VarlinkCall:
    """A Varlink call; its method may be unknown."""

    method: str
    parameters: dict[str, Any]
    more: bool
    oneway: bool


def read(frame: bytes) -> VarlinkCall:
    """The call in a frame; FrameError if it is not a Varlink call."""
    _bound(frame)
    message = decode(frame)
    name = message.pop("method", None)
    parameters = message.pop("parameters", None)
    flags = {key: message.pop(key, False) for key in ("more", "oneway", "upgrade")}
    if message or not isinstance(name, str) or not all(isinstance(flag, bool) for flag in flags.values()):
        raise FrameError("the message is not a Varlink call")
    if parameters is not None and not isinstance(parameters, dict):
        raise FrameError("the parameters are not an object")
    if sum(flags.values()) > 1:
        raise FrameError("the message has more than one of more, oneway and upgrade")
    return VarlinkCall(name, parameters or {}, flags["more"], flags["oneway"])


def find(call: VarlinkCall, routes: Routes) -> tuple[Route, msgspec.Struct]:
    """The route of the call, and its typed parameters. A FluxgymError says why it cannot be answered."""
    route = routes.get(call.method)
    if route is None:
        interface = call.method.rpartition(".")[0]
        if interface not in INTERFACES:
            raise InterfaceNotFound(f"There is no interface {short(interface)}.", interface=short(interface))
        raise MethodNotFound(f"There is no method {short(call.method)}.", method=short(call.method))
    if route.method.stream and not call.more:
        raise ExpectedMore(f"{call.method} answers with a stream; call it with more.")
    return route, convert(call.parameters, route.method.parameters)


def _bound(frame: bytes) -> None:
    """Refuses a frame that would take long to parse, before it is parsed."""
    if frame.count(b"[") + frame.count(b"{") + frame.count(b":") > BRACKETS:
        raise FrameError(f"the message has more than {BRACKETS} brackets and colons")
    if frame.count(b",") > COMMAS:
        raise FrameError(f"the message has more than {COMMAS} commas")
