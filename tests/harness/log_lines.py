# SPDX-License-Identifier: Apache-2.0
r"""A log as shown by a client in which text after a `\r` replaces the line."""


def last_states(log: str) -> str:
    """The log with the last state of each line."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in log.split("\n"))
