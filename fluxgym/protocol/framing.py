# SPDX-License-Identifier: Apache-2.0
"""Varlink's frames: one JSON object in UTF-8, followed by one NUL byte (varlink.org; UAPI.20).

Reading is strict. A message that two parsers could read differently (a duplicate key, NaN, more than one value, too
deep nesting) is refused, and so is one over the limit, or with values that could not be sent back (half a surrogate
pair, an infinite number). The time for this grows linearly with the message.
"""

import json
import math
from typing import Any, NoReturn

import msgspec

from fluxgym.quoting import short

MESSAGE_LIMIT = 1024 * 1024
"""The largest message in bytes, without its NUL."""

SURROGATE = rb"\ud"
"""The beginning of the escape of half a surrogate pair."""

_encoder = msgspec.json.Encoder()


class FrameError(ValueError):
    """The bytes are not a message; the text says why."""


def encode(message: msgspec.Struct | dict[str, Any]) -> bytes:
    """The frame of a message, with its NUL."""
    return _encoder.encode(message) + b"\0"


def decode(frame: bytes) -> dict[str, Any]:
    """The object in one frame (without its NUL). FrameError says why there is none."""
    try:
        value = _strict.decode(frame.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FrameError(f"the message is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise FrameError(f"the message is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise FrameError("the message is nested too deeply") from None
    except FrameError:
        raise
    except ValueError:  # Python limits the digits, since the time to convert them grows with their square
        raise FrameError("the message contains an integer with too many digits") from None
    if SURROGATE in frame.lower():
        _refuse_half_characters(value)
    if not isinstance(value, dict):
        raise FrameError("the message is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise FrameError(f"the message has the key {short(key)!r} twice")
        result[key] = value
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise FrameError(f"the message contains {text}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise FrameError("the message contains a number that is too large")
    return number


def _refuse_half_characters(value: Any) -> None:
    """JSON's escapes can express half of a surrogate pair, which cannot be sent back as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FrameError("the message contains half a character (an unpaired surrogate)") from None


# json rather than msgspec, which silently accepts a duplicate key (msgspec 0.19: the last one wins).
_strict = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)


class Splitter:
    """Cuts a byte stream into frames on demand. Holds only the bytes that were fed and not taken yet."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    @property
    def size(self) -> int:
        """The number of bytes that were fed and not taken yet."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """The next frame (without its NUL); None while it is incomplete. FrameError if it is over the limit."""
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
