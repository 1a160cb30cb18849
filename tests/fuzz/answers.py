# SPDX-License-Identifier: Apache-2.0
"""The answers that a conversation may get: as the interface files describe them, and as many as were asked for."""

from __future__ import annotations

import json
from typing import Any

from varlink import scanner

from fluxgym.errors import InternalError
from tests.fluxgym.described import members
from tests.fuzz.messages import METHODS, Conversation, Message
from tests.fuzz.values import fits

ERRORS = {f"{interface}.{name}": (interface, error.type) for interface, name, error in members("_Error")}
NOTHING = scanner._Struct({})


def fault(conversation: Conversation, received: bytes) -> str | None:
    """The fault in what a client received until the connection ended or the client left it; None if there is none."""
    if not received.endswith(b"\0") and received:
        return "the daemon closed the connection in the middle of an answer"
    answers = [json.loads(frame) for frame in received.split(b"\0")[:-1]]
    for message in conversation.messages:
        if not message.certain:
            return next(filter(None, (_fault_in(answer, None) for answer in answers)), None)
        if message.oneway:
            continue
        while answers and (answer := answers.pop(0)):
            if wrong := _fault_in(answer, message):
                return wrong
            if not answer.get("continues"):
                break
        else:
            return None if message.endless else f"no last answer came to {message.frame[:300]!r}"
    return f"answers came that nobody asked for: {answers[0]}" if answers else None


def may_leave(conversation: Conversation, received: bytes) -> bool:
    """Whether everything still to come belongs to an endless stream, which is always the conversation's last call.
    The stream may be silent: a client that follows a log waits until something is written."""
    if not conversation.messages[-1].endless:
        return False
    ends = sum(b'"continues":true' not in frame for frame in received.split(b"\0")[:-1])
    return ends >= sum(not message.oneway for message in conversation.messages[:-1])


def _fault_in(answer: Any, message: Message | None) -> str | None:
    """The fault in one answer. `message`: the call that it answers, if known."""
    if not isinstance(answer, dict) or not answer.keys() <= {"parameters", "error", "continues"}:
        return f"no answer of varlink's: {answer}"
    if answer.get("continues") and message is not None and not message.more:
        return f"more than one answer was not asked for: {message.frame[:300]!r}"
    name, parameters = answer.get("error"), answer.get("parameters", {})
    if name is not None:
        if name == InternalError.wire_name or name not in ERRORS:
            return f"{name}: {parameters}"
        interface, kind = ERRORS[name]
    elif message is None:
        return None
    elif message.method not in METHODS:
        return f"{message.method!r} was answered: {answer}"
    else:
        interface, method = METHODS[message.method]
        kind = method.out_type
    if not fits(parameters, kind or NOTHING, interface):
        return f"the answer to {message} is not as the interface says: {answer}"
    return None
