# SPDX-License-Identifier: Apache-2.0
"""Checks that today's answer has everything that an older one had."""

from typing import Any

CHANGE = {"revision", "instance", "version", "description", "pid", "startedAt", "interfaces"}
"""Keys whose values differ between daemons."""


def missing(older: Any, newer: Any, path: str = "") -> list[str]:
    """Returns the places where `newer` has less than `older`: a missing key, another type, or fewer items."""
    if isinstance(older, dict) and isinstance(newer, dict):
        found = []
        for key, value in older.items():
            if key not in newer:
                found.append(f"{path}.{key} is gone")
            elif key not in CHANGE:
                found += missing(value, newer[key], f"{path}.{key}")
        return found
    if isinstance(older, list) and isinstance(newer, list):
        if len(newer) < len(older):
            return [f"{path} has {len(newer)} items, and had {len(older)}"]
        return [
            fault for number, item in enumerate(older) for fault in missing(item, newer[number], f"{path}[{number}]")
        ]
    if type(older) is not type(newer) and not {type(older), type(newer)} <= {int, float}:
        return [f"{path} is {newer!r}, and was {older!r}"]
    return []
