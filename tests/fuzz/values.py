# SPDX-License-Identifier: Apache-2.0
"""Random values for the types of an interface file: some that fit, and junk that fits nothing."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from varlink import scanner

from tests.fluxgym.described import INTERFACES


class Raw(str):
    """Text that is put into the message as it is, whether it is JSON or not."""

    __slots__ = ()


WORDS = (
    *(
        "waiting",
        "ended",
        "failed",
        "new",
        "new-1",
        "new-2",
        "x",
        "",
        ".",
        "..",
        "a/b",
        "A",
        "-x",
        "ä" * 40,
        "x" * 64,
        "x" * 256,
    ),
    *("/nonexistent/flux.sft", "/dev/null", "/proc/self/mem", "\x00", "a\x00b", "\n", "%s%n", "GPU-0", "0", "-1"),
    *("org.fluxgym.Jobs", "org.varlink.service", "\u2028", "\U0001f600", "\x7f\x1b[2J"),
)
"""Names of existing jobs, and strings that any name, path or program argument should withstand."""
PROGRAMS: tuple[list[str], ...] = (
    ["/bin/true"],
    ["/bin/false"],
    ["/nonexistent/program"],
    [""],
    [],
    ["/bin/true", "x" * 200_000],
)
"""Programs of drawn jobs. They are really run."""
JOB = {"kind": "program", "program": ["/bin/true"], "held": True}
"""Half of the drawn jobs have these values, so that some are accepted."""
INTEGERS = (0, 1, -1, 2, 7, 512, 1000, -1000, 2**31, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64, 10**400)
FLOATS = (0.0, -0.0, 1.5, -1.0, 1e-320, 1e308, -1e308, 8e-4, 60)
JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        "",
        "x",
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"name": "waiting"},
        10**19,
        -(10**400),
    ),
    *("\x00", "x" * 10_000, [0] * 1000, {str(number): number for number in range(200)}, "A" * 70_000),
)
"""JSON of other types."""
NO_MESSAGE = (
    *(Raw("NaN"), Raw("1e999"), Raw("-Infinity"), Raw("9" * 5000), Raw('"\\ud800"'), Raw('"\\udc00\\ud800"')),
    *(Raw('{"a":1,"a":2}'), Raw("[" * 900 + "]" * 900), Raw("[" * 50_000), Raw('{"a":' * 3000 + "1" + "}" * 3000)),
    *(Raw("[" + "1," * 200_001 + "1]"), Raw("'x'"), Raw("01"), Raw("tru"), Raw('"\t"'), Raw("")),
)
"""Values that make the whole message unreadable, or may do so."""


def fitting(choice: Random, kind: Any, interface: str, field: str = "") -> Any:
    """A value of this type of this interface, which the daemon either accepts or refuses for its content."""
    match kind:
        case scanner._Maybe():
            return None if choice.random() < 0.2 else fitting(choice, kind.element_type, interface, field)
        case scanner._Array() if field == "program":
            return choice.choice(PROGRAMS)
        case scanner._Array():
            return [fitting(choice, kind.element_type, interface) for _ in range(choice.choice((0, 1, 1, 3)))]
        case scanner._Dict():
            keys = choice.sample(
                (*WORDS, "network_dim", "optimizer_type", "gpu_idle", "step"), choice.choice((0, 1, 3))
            )
            return {key: fitting(choice, kind.element_type, interface) for key in keys}
        case scanner._CustomType():
            value = fitting(choice, INTERFACES[interface].members[kind.name].type, interface, field)
            if kind.name == "Context" and choice.random() < 0.5:
                return {"name": value["name"], **JOB}
            return value
        case scanner._Enum():
            return choice.choice(list(kind.fields))
        case scanner._Struct():
            return structure(choice, kind, interface)
        case bool():
            return choice.random() < 0.5
        case int():
            return choice.choice(INTEGERS)
        case float():
            return choice.choice(FLOATS)
    return choice.choice(WORDS)


def structure(choice: Random, kind: Any, interface: str) -> dict[str, Any]:
    """An object with all required fields, and with few or many of the optional ones."""
    share = choice.choice((0.1, 0.3, 0.9))
    chosen = [
        name
        for name, inner in kind.fields.items()
        if not isinstance(inner, scanner._Maybe) or choice.random() < share
    ]
    return {name: fitting(choice, kind.fields[name], interface, name) for name in chosen}


def fits(value: Any, kind: Any, interface: str) -> bool:
    """Whether a value has this type, without additional fields."""
    match kind:
        case scanner._Maybe():
            return value is None or fits(value, kind.element_type, interface)
        case scanner._Array():
            return isinstance(value, list) and all(fits(item, kind.element_type, interface) for item in value)
        case scanner._Dict():
            return isinstance(value, dict) and all(
                fits(item, kind.element_type, interface) for item in value.values()
            )
        case scanner._CustomType():
            return fits(value, INTERFACES[interface].members[kind.name].type, interface)
        case scanner._Enum():
            return value in kind.fields
        case scanner._Struct():
            return (
                isinstance(value, dict)
                and value.keys() <= kind.fields.keys()
                and all(fits(value.get(name), inner, interface) for name, inner in kind.fields.items())
            )
        case bool():
            return isinstance(value, bool)
        case int():
            return isinstance(value, int) and not isinstance(value, bool)
        case float():
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)


def render(value: Any) -> str:
    """The value as JSON, with Raw text as it is."""
    match value:
        case Raw():
            return str(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{render(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(render, value)) + "]"
    return json.dumps(value)
