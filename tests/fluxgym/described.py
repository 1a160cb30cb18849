# SPDX-License-Identifier: Apache-2.0
"""The interfaces as described in their files, read by an independent parser."""

from __future__ import annotations

from typing import Any

from varlink import scanner

from fluxgym.interfaces import description
from fluxgym.protocol import (
    dataset_messages,
    dataset_methods,
    event_messages,
    event_methods,
    machine_messages,
    machine_methods,
    messages,
    methods,
    output_messages,
    output_methods,
    plan_messages,
    steering_methods,
)
from fluxgym.protocol.messages import Message, OpenEnum
from fluxgym.protocol.methods import Method

INTERFACES: dict[str, Any] = {name: scanner.Interface(description(name)) for name in methods.INTERFACES}

TYPES: dict[str, type[Message | OpenEnum]] = {
    name: value
    for module in (messages, plan_messages, output_messages, event_messages, dataset_messages, machine_messages)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, (Message, OpenEnum)) and value not in (Message, OpenEnum)
}
"""The types of our own messages, by their names."""

METHODS: dict[str, Method[Any, Any]] = {
    value.name: value
    for module in (methods, output_methods, event_methods, steering_methods, dataset_methods, machine_methods)
    for value in vars(module).values()
    if isinstance(value, Method)
}
"""Our own table of methods, by their full names."""


def members(kind: str) -> list[tuple[str, str, Any]]:
    """(interface, name, member) of all members of one kind: `_Alias`, `_Method` or `_Error`."""
    return [
        (interface, name, member)
        for interface, parsed in INTERFACES.items()
        for name, member in parsed.members.items()
        if isinstance(member, getattr(scanner, kind))
    ]
