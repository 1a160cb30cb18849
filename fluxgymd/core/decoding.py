# SPDX-License-Identifier: Apache-2.0
"""JSON that a disk or another program holds: whatever is wrong with it, it is one kind of error.

msgspec raises UnicodeDecodeError for bytes that are no UTF-8 and RecursionError for deep nesting, neither of which is
a MsgspecError. One such line in a file must not end the daemon that reads it (promises 8 and 10).
"""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def decode(data: bytes, kind: type[T]) -> T:
    """The value. msgspec.MsgspecError if it is not of this type."""
    value: T = decode_with(msgspec.json.Decoder(kind), data)
    return value


def decode_with(decoder: "msgspec.json.Decoder[Any]", data: bytes) -> Any:
    """The same with a decoder that is kept, for what is read line by line."""
    try:
        return decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
