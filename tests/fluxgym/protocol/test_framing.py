# SPDX-License-Identifier: Apache-2.0
"""Frames: a stream gives the same messages however it is split, and a message that two parsers could read differently
is refused."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.protocol import framing
from fluxgym.protocol.framing import MESSAGE_LIMIT, FrameError, Splitter, decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
MESSAGE = st.dictionaries(TEXT, VALUE, max_size=4)


def split(stream: bytes, cuts: list[int], *, limit: int = MESSAGE_LIMIT) -> list[bytes]:
    """The frames that result if the stream arrives in these pieces."""
    splitter = Splitter(limit)
    frames: list[bytes] = []
    ends = sorted(min(cut, len(stream)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(stream)], strict=True):
        splitter.feed(stream[start:end])
        while (frame := splitter.next()) is not None:
            frames.append(frame)
    return frames


@given(MESSAGE)
def test_a_message_comes_back_as_it_was(message: dict[str, Any]) -> None:
    frame = encode(message)
    assert frame.endswith(b"\0")
    assert b"\0" not in frame[:-1]
    assert decode(frame[:-1]) == message


@given(st.lists(MESSAGE, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_any_split_of_the_stream_gives_the_same_frames(messages: list[dict[str, Any]], cuts: list[int]) -> None:
    stream = b"".join(encode(message) for message in messages)
    assert [decode(frame) for frame in split(stream, cuts)] == messages


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_any_bytes_are_cut_at_the_nul_wherever_the_reads_fall(stream: bytes, cuts: list[int]) -> None:
    assert split(stream, cuts) == stream.split(b"\0")[:-1]


@given(st.binary(max_size=100))
def test_any_bytes_decode_or_are_refused(frame: bytes) -> None:
    with suppress(FrameError):
        assert isinstance(decode(frame), dict)


def test_an_unfinished_frame_is_kept_until_its_end_comes() -> None:
    splitter = Splitter()
    splitter.feed(b'{"a":')
    assert splitter.next() is None
    splitter.feed(b"1}\0{")
    assert splitter.next() == b'{"a":1}'
    assert (splitter.next(), splitter.size) == (None, 1)


def test_frames_wait_until_they_are_asked_for() -> None:
    splitter = Splitter()
    splitter.feed(b"a\0\0b\0c")
    assert splitter.size == 6
    assert [splitter.next() for _ in range(4)] == [b"a", b"", b"b", None]
    assert splitter.size == 1


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":{"b":1,"b":1}}', "twice"),
        (b'{"a":1,"\\u0061":2}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1}{"b":2}', "Extra data"),
        (b'{"a":1} x', "Extra data"),
        (b'{"a":01}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"a"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\xc0\x80"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        (b'{"a":"\n"}', "not JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too deep"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
def test_a_message_that_is_not_one_plain_object_is_refused(frame: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode(frame)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b'{"a":' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":"\\ud800"}', "half a character"),
        (b'{"a":"\\uDC00\\uD800"}', "half a character"),
        (b'{"\\ud800":1}', "half a character"),
    ],
    ids=["an integer of 5000 digits", "a number that becomes infinite", "half a letter", "halves", "half a key"],
)
def test_promise_10_values_that_could_not_be_sent_back_are_refused(frame: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode(frame)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert decode(b'{"a":"\\ud83d\\ude00 \\\\ud800"}') == {"a": "\U0001f600 \\ud800"}


def test_promise_10_a_key_that_comes_twice_among_many_is_found_in_one_pass() -> None:
    """One such message of 1 MB used to block the event loop for 54 s, longer than the service's watchdog waits."""

    class Key(str):
        """A key that counts comparisons."""

        __slots__ = ()
        compared = 0

        def __eq__(self, other: object) -> bool:
            Key.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    pairs = [(Key(f"k{number}"), 1) for number in range(2000)]
    with pytest.raises(FrameError, match="'k1999' twice"):
        framing._unique([*pairs, (Key("k1999"), 2)])
    assert Key.compared < 10 * len(pairs)


@pytest.mark.parametrize("end", [b"\0", b""])
def test_a_frame_over_the_limit_is_refused_with_or_without_its_end(end: bytes) -> None:
    good = json.dumps({"a": "x" * 91}).encode()
    assert len(good) == 100
    assert split(good + b"\0", [], limit=100) == [good]
    with pytest.raises(FrameError, match="longer than 100 bytes"):
        split(good + b" " + end, [], limit=100)


def test_many_small_frames_in_one_read_are_not_over_the_limit() -> None:
    assert len(split(b'{"a":1}\0' * 1000, [], limit=100)) == 1000


def test_an_unfinished_frame_is_refused_as_soon_as_it_is_over_the_limit() -> None:
    splitter = Splitter(1000)
    for _ in range(10):
        splitter.feed(b"x" * 100)
        assert splitter.next() is None
    splitter.feed(b"x")
    with pytest.raises(FrameError):
        splitter.next()


def test_a_frame_in_single_bytes_is_not_searched_again_from_its_start() -> None:
    """The work is linear: each byte is examined once, however small the reads are."""
    splitter = Splitter()
    for _ in range(5000):
        splitter.feed(b"x")
        assert splitter.next() is None
        assert splitter._searched == splitter.size
    splitter.feed(b"\0")
    assert splitter.next() == b"x" * 5000
