# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends is answered as the interface files say, or is refused by closing the connection. Hypothesis
draws the same messages as `./dev soak messages` and shrinks those that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.protocol.framing import MESSAGE_LIMIT
from tests.fuzz import answers
from tests.fuzz.attacked import Attacked
from tests.fuzz.messages import METHODS, Conversation, Message, draw
from tests.fuzz.shrinking import shrink
from tests.fuzz.values import fits, structure

CONVERSATIONS = 100


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    """One daemon for all conversations."""
    with Attacked() as daemon:
        yield daemon


@given(st.randoms(use_true_random=False).map(draw))
@settings(max_examples=CONVERSATIONS, deadline=None)
def test_promise_10_any_message_is_answered_as_described_or_refused(
    attacked: Attacked, conversation: Conversation
) -> None:
    attacked.take(conversation)


def test_promise_10_messages_leave_nothing_behind_while_others_are_answered() -> None:
    """The soak measures how fast they are answered."""
    with Attacked() as attacked:
        for number in range(CONVERSATIONS):
            attacked.take(draw(Random(number)))
        served = attacked.finish()
    assert served.busy


CONVERSATION = Conversation(
    (
        Message(
            b'{"method":"org.fluxgym.Machine.Pause"}', method="org.fluxgym.Machine.Pause", oneway=True, certain=True
        ),
        Message(b'{"method":"a.B"}', method="a.B", certain=True),
        Message(b'{"method":"org.fluxgym.Jobs.List"}', method="org.fluxgym.Jobs.List", more=True, certain=True),
    )
)
NOT_FOUND = {"error": "org.varlink.service.InterfaceNotFound", "parameters": {"interface": "a"}}
LAST: dict[str, Any] = {"parameters": {}}


@pytest.mark.parametrize(
    ("received", "said"),
    [
        ([NOT_FOUND, LAST], None),
        ([NOT_FOUND, {"parameters": {}, "continues": True}, LAST], None),
        ([NOT_FOUND], "no last answer"),
        ([NOT_FOUND, {"parameters": {}, "continues": True}], "no last answer"),
        ([LAST, LAST], "was answered"),
        ([{**NOT_FOUND, "parameters": {}}, LAST], "not as the interface says"),
        ([{**NOT_FOUND, "continues": True}, LAST], "not asked for"),
        ([NOT_FOUND, {"parameters": {"job": {"context": {}}}}], "not as the interface says"),
        ([NOT_FOUND, LAST, LAST], "nobody asked for"),
        ([{"error": "org.fluxgym.Machine.InternalError", "parameters": {"message": "x"}}], "InternalError"),
        ([{"error": "org.example.Unheard", "parameters": {}}], "org.example.Unheard"),
        ([{"surprise": 1}], "no answer of varlink's"),
    ],
)
def test_a_wrong_answer_is_detected(received: list[dict[str, Any]], said: str | None) -> None:
    wrong = answers.fault(CONVERSATION, b"".join(json.dumps(answer).encode() + b"\0" for answer in received))
    assert (wrong is None) == (said is None), wrong
    assert said is None or said in str(wrong)


@pytest.mark.parametrize("name", METHODS)
def test_values_drawn_for_a_method_fit_its_parameters(name: str) -> None:
    interface, method = METHODS[name]
    for number in range(50):
        drawn = structure(Random(number), method.in_type, interface)
        assert fits(drawn, method.in_type, interface)
        assert not drawn or not fits({**drawn, "surprise": 1}, method.in_type, interface)


def test_every_method_and_every_kind_of_message_is_drawn() -> None:
    drawn = [message for number in range(1000) for message in draw(Random(number)).messages]
    assert {message.method for message in drawn} >= METHODS.keys()
    certain = [message for message in drawn if message.certain]
    assert len(drawn) / 10 < len(certain) < len(drawn)
    assert any(message.oneway for message in certain)
    assert any(len(message.frame) > MESSAGE_LIMIT for message in drawn)
    assert any(b"\0" in message.frame for message in drawn)


def test_a_failing_conversation_is_shrunk_as_far_as_possible() -> None:
    long = Message(b'{"method":"a.B","parameters":{"x":1,"name":["a",{"b":2}]}}', certain=True)

    def fails(conversation: Conversation) -> bool:
        return any(b'"b"' in message.frame for message in conversation.messages)

    small = shrink(Conversation((*CONVERSATION.messages, long), cuts=(3,)), fails)
    assert [json.loads(message.frame) for message in small.messages] == [
        {"method": "a.B", "parameters": {"name": [{"b": 2}]}}
    ]
    assert small.cuts == ()
