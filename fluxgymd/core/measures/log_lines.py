# SPDX-License-Identifier: Apache-2.0
r"""Reduces lines that a progress bar rewrites to their last state. Pure.

A bar writes each state after a `\r`, several hundred thousand of them overnight. A terminal shows only the last one.
"""

import re

ENDS = re.compile(r"\r+\n")


def fold(text: str) -> str:
    r"""A piece of a log, with only the last state of each line. A `\r` remains only where it affects the text before
    or after this piece: at its beginning, if its first line replaces what came before, and at its end."""
    if "\r" not in text:
        return text
    lines = ENDS.sub("\n", text).split("\n")
    for number, line in enumerate(lines):
        if "\r" in line:
            states = line.rstrip("\r")
            replaces = "\r" if number == 0 and "\r" in states else ""
            ended = "\r" if states != line else ""
            lines[number] = replaces + states.rpartition("\r")[2] + ended
    return "\n".join(lines)


def last_state(line: bytes) -> int:
    r"""Where the last state of a line begins, ignoring `\r` at its end."""
    return line.rstrip(b"\r").rfind(b"\r") + 1
