# SPDX-License-Identifier: Apache-2.0
"""The method of org.fluxgym.Jobs about the events of all jobs (see methods.py)."""

from fluxgym.protocol.event_messages import Event
from fluxgym.protocol.messages import Message
from fluxgym.protocol.methods import Method


class EventsParameters(Message, frozen=True, kw_only=True):
    after: str | None = None
    follow: bool | None = None
    name: str | None = None


class EventsReply(Message, frozen=True, kw_only=True):
    cursor: str | None = None
    event: Event | None = None
    reset: bool | None = None


EVENTS = Method("org.fluxgym.Jobs.Events", EventsParameters, EventsReply, stream=True)
