# SPDX-License-Identifier: Apache-2.0
"""Texts that are not TOML, by what is wrong with them."""

from __future__ import annotations

BROKEN = {
    "no value": "home = ",
    "deep arrays": "x = " + "[" * 100_000,
    "deep tables": "x = " + "{a = " * 100_000,
    "many dots": "x" + ".x" * 100_000 + " = 1",
    "many quoted dots": '"x"' + " . 'x'" * 100_000 + " = 1",
    "many dots of a table": "[x" + ".x" * 100_000 + "]",
    "many dots inside": "y = {x" + ".x" * 100_000 + " = 1}",
    "5,000 digits": "epochs = " + "9" * 5000,
    "month 13": "x = 2026-13-01",
    "30 February": "x = 2026-02-30T00:00:00",
    "an offset of 99 hours": "x = 2026-01-01T00:00:00+99:99",
    "hour 25": "x = 25:00:00",
    "a surrogate": r'x = "\ud800"',
    "beyond Unicode": r'x = "\U00110000"',
    "a NUL": 'x = "\0"',
}
