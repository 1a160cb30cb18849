# SPDX-License-Identifier: Apache-2.0
"""Random conversations, drawn from the interface files: correct calls, calls with changed values, and bytes that
aren't calls.

All messages of a conversation but the last are calls whose answers end, so that each answer can be assigned to its
call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from fluxgym.protocol.framing import MESSAGE_LIMIT
from tests.fluxgym.described import members
from tests.fuzz.values import JUNK, NO_MESSAGE, WORDS, Raw, render, structure

METHODS = {f"{interface}.{name}": (interface, method) for interface, name, method in members("_Method")}
STREAMS = [name for name, (_, method) in METHODS.items() if "Needs `more`" in " ".join(method.doc.split())]
LONGEST = 6
"""Maximum number of messages in a conversation."""
SHOWN_BYTES = 2000


@dataclass(frozen=True)
class Message:
    """`certain`: it is certainly a call, whatever its parameters are, and is answered as one."""

    frame: bytes
    method: str = ""
    oneway: bool = False
    more: bool = False
    certain: bool = False

    @property
    def endless(self) -> bool:
        """Whether its answers may continue until the client leaves."""
        return any(name in self.frame for name in (b".Watch", b"Jobs.Logs")) and not self.oneway


@dataclass(frozen=True)
class Conversation:
    """`cuts`: the offsets at which the stream of bytes is divided into separate sends."""

    messages: tuple[Message, ...]
    cuts: tuple[int, ...] = ()

    def __str__(self) -> str:
        frames = [repr(message.frame[:SHOWN_BYTES]) for message in self.messages]
        return f"{', '.join(frames)}; cut at {self.cuts}"

    @property
    def parts(self) -> list[bytes]:
        stream = b"".join(message.frame + b"\0" for message in self.messages)
        places = sorted(min(cut, len(stream)) for cut in self.cuts)
        return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


def draw(choice: Random) -> Conversation:
    messages = []
    for _ in range(choice.randint(1, LONGEST)):
        message = _message(choice)
        messages.append(message)
        if message.endless or not message.certain:
            break
    cuts = tuple(choice.randint(0, 400) for _ in range(choice.choice((0, 0, 1, 3))))
    return Conversation(tuple(messages), cuts)


def _message(choice: Random) -> Message:
    name = choice.choice(list(METHODS))
    interface, method = METHODS[name]
    parameters = structure(choice, method.in_type, interface)
    call: dict[str, Any] = {"method": name, "parameters": parameters}
    if name in STREAMS:
        call["more"] = True
    match choice.choice(("as it should be",) * 4 + ("twisted",) * 4 + ("flags", "flags", "envelope", "bytes")):
        case "twisted":
            for _ in range(choice.choice((1, 1, 2, 4))):
                _twist(choice, parameters)
        case "flags":
            call.pop("more", None)
            call |= {choice.choice(("more", "oneway", "upgrade")): choice.random() < 0.7}
            call["method"] = choice.choice((name, name, name + "x", *WORDS))
        case "envelope":
            key = choice.choice(("method", "parameters", "more", "oneway", "upgrade", "error", "continues", ""))
            call[key] = choice.choice((*JUNK, *NO_MESSAGE, True))
            return Message(_encode(call))
        case "bytes":
            return Message(_mangled(choice, _encode(call)))
    certain = not any(isinstance(value, Raw) for value in _inside(call))
    frame = _encode(call)
    return Message(
        frame,
        method=call["method"],
        oneway=call.get("oneway") is True,
        more=call.get("more") is True,
        certain=certain and len(frame) <= MESSAGE_LIMIT,
    )


def _encode(call: dict[str, Any]) -> bytes:
    return render(call).encode("utf-8", "surrogatepass")


def _twist(choice: Random, value: Any) -> None:
    """Changes one place in a tree of objects and lists."""
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys or choice.random() < 0.1:
        _add(choice, value)
        return
    key = choice.choice(keys)
    if isinstance(value[key], (dict, list)) and choice.random() < 0.8:
        value[key] = value[key].copy()
        _twist(choice, value[key])
        return
    match choice.choice(("junk", "junk", "junk", "gone", "nested", "no message")):
        case "junk":
            value[key] = choice.choice(JUNK)
        case "gone":
            del value[key]
        case "nested":
            value[key] = choice.choice(([value[key]], {"": value[key]}))
        case "no message":
            value[key] = choice.choice(NO_MESSAGE)


def _add(choice: Random, value: Any) -> None:
    if isinstance(value, dict):
        value[choice.choice((*WORDS, "nmae", "x" * 100_000, "\ud800"))] = choice.choice(JUNK)
    else:
        value.append(choice.choice(JUNK))


def _mangled(choice: Random, frame: bytes) -> bytes:
    """The bytes of a call, with damage."""
    place = choice.randint(0, len(frame))
    match choice.choice(("cut", "flip", "zero", "insert", "noise", "long", "nothing")):
        case "cut":
            return frame[:place]
        case "flip":
            place = min(place, len(frame) - 1)
            return frame[:place] + bytes([frame[place] ^ 1 << choice.randrange(8)]) + frame[place + 1 :]
        case "zero":
            return frame[:place] + bytes(choice.choice((1, 2, 50))) + frame[place:]
        case "insert":
            return (
                frame[:place]
                + choice.choice((b'"', b"}", b"\\", b"\xff", b"\xed\xa0\x80", b"{" * 30))
                + frame[place:]
            )
        case "noise":
            return bytes(choice.randrange(256) for _ in range(choice.choice((1, 20, 300))))
        case "long":
            return frame[:-1] + b" " * (MESSAGE_LIMIT + choice.choice((-1, 0, 1)) - len(frame)) + frame[-1:]
    return b""


def _inside(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        if any("\ud800" in key for key in value):
            yield Raw("half a character")
        for item in value.values():
            yield from _inside(item)
    elif isinstance(value, list):
        for item in value:
            yield from _inside(item)
