# SPDX-License-Identifier: Apache-2.0
"""The interfaces as described in their files, read by an independent parser."""

from __future__ import annotations

from typing import Any

from varlink import scanner

from fluxgym import methods
from fluxgym.interfaces import description

INTERFACES: dict[str, Any] = {name: scanner.Interface(description(name)) for name in methods.INTERFACES}


def members(kind: str) -> list[tuple[str, str, Any]]:
    """(interface, name, member) of all members of one kind: `_Alias`, `_Method` or `_Error`."""
    return [
        (interface, name, member)
        for interface, parsed in INTERFACES.items()
        for name, member in parsed.members.items()
        if isinstance(member, getattr(scanner, kind))
    ]
