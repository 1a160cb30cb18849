# SPDX-License-Identifier: Apache-2.0
"""Decodes JSON from a disk or from another program. Whatever is wrong with it raises the same kind of error.

msgspec raises UnicodeDecodeError for bytes that aren't UTF-8 and RecursionError for deep nesting, and neither is a
MsgspecError. In a name that it doesn't know it accepts any bytes: one damaged byte in a name would silently lose the
value. It also accepts integers of any length, which neither the interface nor a packed job can hold. Such a line in a
file must not end the daemon (promises 8 and 10).
"""

import re
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

# Integers have no limit in Python and msgspec. They do in floats, on the wire and in sums of these numbers.
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
"""A count from another program. A larger number is damage, and would not fit into the journal."""

_LONG_NUMBER = re.compile(rb"\d{19}")
"""Only a number of this length can exceed 64 bits: 2**63 has 19 digits."""


def decode(data: bytes, kind: type[T]) -> T:
    """The decoded value. msgspec.MsgspecError if the data isn't valid JSON of this type."""
    value: T = decode_with(msgspec.json.Decoder(kind), data)
    return value


def decode_with(decoder: "msgspec.json.Decoder[Any]", data: bytes) -> Any:
    """Like `decode`, with a decoder that the caller keeps, for files that are read line by line."""
    try:
        if not data.isascii():
            data.decode()  # all of it is UTF-8
        value = decoder.decode(data)
        if _LONG_NUMBER.search(data):
            msgspec.msgpack.encode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    except OverflowError:
        raise msgspec.ValidationError("an integer has more than 64 bits") from None
    return value
