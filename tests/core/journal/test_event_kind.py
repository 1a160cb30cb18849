# SPDX-License-Identifier: Apache-2.0
"""Each event has a kind on the wire."""

import msgspec
import pytest

from fluxgym.protocol.event_messages import EventKind
from fluxgymd.core.journal.event_kind import kind
from tests.core import histories as h

ALL = h.next_events(1)
KINDS = {
    "reserved": "prepared",
    "spawned": "other",
    "placed": "other",
    "unsupervised": "other",
    "sight_lost": "lost",
    "sight_regained": "regained",
    "interrupted": "restarted",
    "never_started": "other",
    "resume_asked": "resumed",
    "stop_later": "stop_asked",
    "retried": "restarted",
    "not_retried": "interrupted",
    "barred": "failed",
    "disowned": "other",
    "stuck_and_left": "stuck",
    "watchdog_off": "watchdog_set",
    "watchdog_warn": "watchdog_set",
}
"""Kinds whose name differs from that of the event."""


@pytest.mark.parametrize("name", ALL)
def test_each_event_has_its_kind(name: str) -> None:
    assert kind(ALL[name]).value == KINDS.get(name, name)


def test_an_outcome_from_a_newer_version_has_the_kind_other() -> None:
    assert kind(msgspec.structs.replace(h.ended("completed"), outcome="evaporated")) is EventKind.OTHER


def test_each_kind_but_unknown_is_used() -> None:
    assert {kind(event) for event in ALL.values()} == set(EventKind) - {EventKind.UNKNOWN}
