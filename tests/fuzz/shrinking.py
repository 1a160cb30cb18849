# SPDX-License-Identifier: Apache-2.0
"""Shrinks a failing conversation as long as it still fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.fuzz.messages import Conversation

TRIES = 60
"""Each try may need a daemon of its own."""


def shrink(conversation: Conversation, fails: Callable[[Conversation], bool]) -> Conversation:
    """The smallest failing conversation that was found, which is the given one if that doesn't fail again."""
    tries = TRIES
    while True:
        for candidate in _smaller(conversation):
            if tries == 0:
                return conversation
            tries -= 1
            if fails(candidate):
                conversation = candidate
                break
        else:
            return conversation


def _smaller(conversation: Conversation) -> Iterator[Conversation]:
    messages = conversation.messages
    for index in range(len(messages)):
        rest = messages[:index] + messages[index + 1 :]
        if rest:
            yield replace(conversation, messages=rest)
    if conversation.cuts:
        yield replace(conversation, cuts=())
    for index, message in enumerate(messages):
        try:
            call = json.loads(message.frame)
            inside = list(_without_a_part(call["parameters"]))
        except (ValueError, RecursionError, LookupError, TypeError):
            continue  # bytes that aren't a call stay as they are
        for parameters in inside:
            frame = json.dumps({**call, "parameters": parameters}).encode()
            yield replace(
                conversation, messages=(*messages[:index], replace(message, frame=frame), *messages[index + 1 :])
            )


def _without_a_part(value: Any) -> Iterator[Any]:
    """The value without one of its keys or items, the outer ones first."""
    if isinstance(value, dict):
        yield from ({key: value[key] for key in value if key != gone} for gone in value)
        for key, inner in value.items():
            yield from ({**value, key: smaller} for smaller in _without_a_part(inner))
    elif isinstance(value, list):
        yield from (value[:index] + value[index + 1 :] for index in range(min(len(value), 8)))
        for index, inner in enumerate(value[:8]):
            yield from ([*value[:index], smaller, *value[index + 1 :]] for smaller in _without_a_part(inner))
