# SPDX-License-Identifier: Apache-2.0
"""Hooks, which are called when something happens to a job: a command, or a web address that is posted to.

The address of a webhook is a secret, since anyone who knows it can post there. So it prints itself as `set`, and no
error message repeats it (docs/hooks.md).
"""

import ipaddress
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

EVENTS = ("stuck", "finish", "fail", "lost")
INSTEAD = {"lost": "fail"}
"""Event without a hook of its own -> the event whose hook is called instead."""

RIGHT = "a list of words, a command line in quotes, or an address that begins with https://"


@dataclass(frozen=True, slots=True)
class Command:
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class Webhook:
    address: str = field(repr=False)

    def __str__(self) -> str:
        return "set"


Hook = Command | Webhook


def parse(value: Any) -> Hook:
    """The hook in a TOML value or in a variable's text. ValueError says what would be right, without the value."""
    if isinstance(value, str):
        text = value.strip()
        return _webhook(text) if text.lower().startswith(("http://", "https://")) else _command(_split(text))
    if isinstance(value, list):
        return _command(value)
    raise ValueError(RIGHT)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ValueError(RIGHT) from None


def _command(words: list[Any]) -> Command:
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0]:
        raise ValueError(RIGHT)
    try:
        first = str(Path(words[0]).expanduser()) if words[0].startswith("~") else words[0]
    except RuntimeError:  # pathlib raises it for an unknown ~user
        raise ValueError(f"{RIGHT}; there is no such user") from None
    return Command((first, *words[1:]))


def _webhook(address: str) -> Webhook:
    if not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError("an address in printable ASCII; write other characters as %XX")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise ValueError("an address with a host, such as https://example.org/secret")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address without a user name and password")
    if parts.scheme != "https" and not _is_here(host):
        raise ValueError("an address that begins with https://; http:// is accepted only for this machine")
    return Webhook(address)


def _is_here(host: str) -> bool:
    """Whether the host is this machine, so that nothing that is sent to it leaves the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
