# SPDX-License-Identifier: Apache-2.0
"""Varlink's frames: one JSON object in UTF-8, ended by one NUL byte (varlink.org; UAPI.20).

Reading is strict: a message that two parsers could read differently (a key twice, NaN, more than one value, nested
too deep) is refused whole, and so are one over the limit and one whose values could not be sent back (half a
surrogate pair, an infinite number). The time that this takes grows as the message does, and no faster.
"""

import json
import math
from typing import Any, NoReturn

import msgspec

MESSAGE_LIMIT = 1024 * 1024
"""Bytes of one message without its NUL."""

SURROGATE = rb"\ud"
"""How the escape of half a pair begins."""

_encoder = msgspec.json.Encoder()


class FrameError(ValueError):
    """Bytes that are not a message; the text says what is wrong with them."""


def encode(message: msgspec.Struct | dict[str, Any]) -> bytes:
    """One frame."""
    return _encoder.encode(message) + b"\0"


def decode(frame: bytes) -> dict[str, Any]:
    """The object of one frame (without its NUL). FrameError says why it is none."""
    try:
        value = _strict.decode(frame.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FrameError(f"the message is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise FrameError(f"the message is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise FrameError("the message is nested too deep") from None
    except FrameError:
        raise
    except ValueError:  # Python's bound, without which the time grows with the square of the digits
        raise FrameError("the message holds an integer with too many digits") from None
    if SURROGATE in frame.lower():
        _refuse_half_characters(value)
    if not isinstance(value, dict):
        raise FrameError("the message is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise FrameError(f"the message has the key {key!r} twice")
        result[key] = value
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise FrameError(f"the message holds {text}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise FrameError("the message holds a number that is too large")
    return number


def _refuse_half_characters(value: Any) -> None:
    """JSON's escapes can write half of a surrogate pair, which no UTF-8 can carry back."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FrameError("the message holds half a character (an unpaired surrogate)") from None


# json and not msgspec, which takes a key twice without a word (measured with msgspec 0.19: the last one wins).
_strict = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)


class Splitter:
    """Cuts a byte stream into frames, when they are asked for. Its memory is what was fed and not taken yet."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """The next frame (without its NUL), None while it is not whole. FrameError if it is over the limit."""
        end = self._buffer.find(b"\0", self._searched)
        size = len(self._buffer) if end < 0 else end
        if size > self._limit:
            raise FrameError(f"the message is longer than {self._limit} bytes")
        if end < 0:
            self._searched = len(self._buffer)
            return None
        frame = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return frame
