# SPDX-License-Identifier: Apache-2.0
"""Cursors in the events of all jobs: small, for any daemon, and never wrong about what is new."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgymd.core.journal.event_cursor import LISTED, Cursor, Digest, Journaled, decode, encode, grown, key_of

INSTANCE = "0123456789abcdef"
A, B, C, D = (Journaled(key=key, number=key, size=100 * key) for key in (1, 2, 3, 4))
"""A and B are listed, C and D are not."""
NEW = Journaled(key=9, number=5, size=70)


def cursor(*jobs: Journaled, listed: int = LISTED) -> Cursor:
    others = Digest()
    for job in jobs[listed:]:
        others = others.plus(job.key, job.size)
    sizes = {job.key: job.size for job in jobs[:listed]}
    number = max((job.number for job in jobs), default=0)
    return Cursor(instance=INSTANCE, change=7, number=number, listed=sizes, others=others)


BEFORE = cursor(A, B, C, D, listed=2)


def with_size(job: Journaled, size: int) -> Journaled:
    return job._replace(size=size)


@pytest.mark.parametrize(
    ("present", "begins"),
    [
        ([A, B, C, D], {}),
        ([D, C, B, A], {}),
        ([with_size(A, 150), B, C, D], {1: 100}),
        ([with_size(A, 150), with_size(B, 201), C, D], {1: 100, 2: 200}),
        ([A, B, C, D, NEW], {9: 0}),
        # A journal was replaced by an older copy.
        ([with_size(A, 99), B, C, D], None),
        # A job was removed, or its journal was damaged.
        ([B, C, D], None),
        ([A, B, C], None),
        # A job that isn't listed has changed.
        ([A, B, C, with_size(D, 401)], None),
        ([A, B, with_size(C, 299), D], None),
        # An older job was restored, or one without a number was imported.
        ([A, B, C, D, Journaled(key=8, number=3, size=10)], None),
        ([A, B, C, D, Journaled(key=8, number=0, size=10)], None),
        # One job was removed, and another one replaced it.
        ([A, B, C, D._replace(key=8)], None),
        ([A, B, C, D._replace(key=8, number=6)], None),
        ([], None),
    ],
)
def test_what_has_grown(present: list[Journaled], begins: dict[int, int] | None) -> None:
    assert grown(BEFORE, present) == begins


@pytest.mark.parametrize(
    ("present", "only", "begins"),
    [
        ([with_size(A, 150), B, C, with_size(D, 401)], 1, {1: 100}),
        ([A, with_size(B, 201)], 1, {}),
        ([with_size(A, 99), B, C, D], 1, None),
        ([with_size(B, 201), C, D, NEW], 9, {9: 0}),
        ([with_size(A, 150), B, C, D], 3, {}),
        ([A, B, C, with_size(D, 401)], 3, None),
    ],
)
def test_what_has_grown_of_one_job(present: list[Journaled], only: int, begins: dict[int, int] | None) -> None:
    assert grown(BEFORE, present, only=only) == begins


def test_a_home_without_jobs_has_a_cursor() -> None:
    assert grown(cursor(), []) == {}
    assert grown(cursor(), [NEW]) == {9: 0}


numbers = st.integers(min_value=0, max_value=2**53)
cursors = st.builds(
    Cursor,
    instance=st.binary(min_size=8, max_size=8).map(bytes.hex),
    change=numbers,
    number=numbers,
    listed=st.dictionaries(st.integers(min_value=0, max_value=2**48 - 1), numbers),
    others=st.builds(Digest, numbers, st.integers(min_value=0, max_value=2**64 - 1)),
)


@given(cursors)
def test_a_cursor_is_read_back_equal(made: Cursor) -> None:
    text = encode(made)
    assert decode(text) == made
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_anything_else_is_refused_without_an_error(text: str) -> None:
    found = decode(text)
    assert found is None or encode(found) != text or grown(found, [A, B]) is None


@pytest.mark.parametrize(
    "broken",
    [
        lambda _: "",
        lambda text: text[:-4],
        lambda text: "Z" + text[1:],
        lambda text: text + "é",
        lambda _: "AQ" + "_" * 400,
    ],
)
def test_a_broken_cursor_is_refused(broken: Callable[[str], str]) -> None:
    assert decode(broken(encode(BEFORE))) is None


def test_a_cursor_of_ten_thousand_jobs_is_small() -> None:
    chance = random.Random(1)
    jobs = [Journaled(chance.randrange(2**48), number, chance.randrange(100_000)) for number in range(10_000)]
    made = cursor(*jobs)
    assert len(encode(made)) < 4096
    assert grown(made, jobs) == {}


def test_sizes_can_be_taken_back() -> None:
    one = Digest().plus(1, 100)
    assert one.plus(2, 200).minus(1, 100) == Digest().plus(2, 200)
    assert one.minus(1, 100) == Digest()


def test_a_copied_folder_has_a_key_of_its_own() -> None:
    assert len({key_of("0" * 32, "a"), key_of("0" * 32, "b"), key_of("1" * 32, "a")}) == 3
