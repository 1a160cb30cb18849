# SPDX-License-Identifier: Apache-2.0
"""JSON with unexpected values, and text that is no longer JSON."""

import json
from collections.abc import Iterator
from typing import Any

JUNK = (
    *("null", "true", "-1", "0", "1.5", "1e308", "-1e308", '""', '"\\u0000"', '"x"', "[]", "[[]]", "{}", "[null]"),
    *(
        "9" * 19,
        "9" * 20,
        "9" * 400,
        "9" * 5000,
        "[" * 5000,
        '{"a":' * 5000,
        "NaN",
        '"\\ud800"',
        '"' + "x" * 9999 + '"',
    ),
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places in a tree of objects and lists, each as the keys that lead there."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def damaged(line: bytes, path: tuple[str | int, ...], junk: str) -> bytes:
    """A line of JSON in which the value at one place is replaced by `junk`, which need not be JSON."""
    value = json.loads(line)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "HERE"
    return json.dumps(value).encode().replace(b'"HERE"', junk.encode(), 1) + b"\n"
