# SPDX-License-Identifier: Apache-2.0
"""Which client is disconnected when there is no more room: the one that has kept the daemon waiting for the longest
time."""

from hypothesis import given
from hypothesis import strategies as st

from fluxgym.errors import FluxgymError, Overloaded
from fluxgymd.api.limits import Room


class Guest:
    def __init__(self, name: str, room: Room) -> None:
        self.name = name
        self.expelled: FluxgymError | None = None
        self._room = room

    def expel(self, error: FluxgymError) -> None:
        self.expelled = error
        self._room.leave(self)


def guests(room: Room, names: str) -> list[Guest]:
    found = [Guest(name, room) for name in names]
    for guest in found:
        room.enter(guest)
    return found


def gone(*found: Guest) -> str:
    return "".join(guest.name for guest in found if guest.expelled)


def test_among_too_many_clients_the_oldest_that_never_called_is_dropped() -> None:
    room = Room(connections=3)
    a, b, c = guests(room, "abc")
    room.busy(a)
    room.idle(a)
    (d,) = guests(room, "d")
    assert (gone(a, b, c, d), len(room)) == ("b", 3)
    assert isinstance(b.expelled, Overloaded)
    assert "More than 3 clients" in b.expelled.message


def test_a_trickle_of_bytes_does_not_make_a_client_younger() -> None:
    room = Room(connections=2)
    a, b = guests(room, "ab")
    room.idle(a)
    room.holds(a, 5)
    (c,) = guests(room, "c")
    assert gone(a, b, c) == "a"


def test_if_all_have_called_the_longest_idle_is_dropped() -> None:
    room = Room(connections=2)
    a, b = guests(room, "ab")
    for guest in (a, b, a):
        room.busy(guest)
        room.idle(guest)
    (c,) = guests(room, "c")
    assert gone(a, b, c) == "b"


def test_if_all_are_busy_the_newcomer_is_refused() -> None:
    room = Room(connections=2)
    a, b = guests(room, "ab")
    room.busy(a)
    room.busy(b)
    (c,) = guests(room, "c")
    assert (gone(a, b, c), len(room)) == ("c", 2)
    room.leave(a)
    (d,) = guests(room, "d")
    assert gone(b, d) == ""


def test_with_too_many_bytes_the_oldest_above_its_share_is_dropped() -> None:
    room = Room(limit=100)
    a, b, c, d = guests(room, "abcd")
    room.holds(a, 25)  # its share
    room.holds(b, 40)
    room.holds(c, 35)
    assert gone(a, b, c, d) == ""
    room.holds(d, 1)
    assert gone(a, b, c, d) == "b"
    assert isinstance(b.expelled, Overloaded)
    assert "100 bytes" in b.expelled.message


def test_a_client_whose_data_was_all_read_counts_as_young_again() -> None:
    room = Room(limit=100)
    a, b = guests(room, "ab")
    room.holds(a, 50)
    room.holds(b, 51 - 1)
    room.holds(a, 0)
    room.holds(a, 51)
    assert gone(a, b) == "a"  # b has no more than its share
    (c,) = guests(room, "c")
    room.holds(c, 51)
    assert gone(b, c) == "c"


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "busy", "idle", "leave", "holds"]), st.integers(0, 7), st.integers(0, 90))
    )
)
def test_the_bounds_hold_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    room = Room(connections=4, limit=100)
    inside: dict[int, Guest] = {}
    for what, number, size in steps:
        guest = inside.setdefault(number, Guest(str(number), room))
        known = guest in room._guests
        if what == "enter":
            if not known:
                inside[number] = guest = Guest(str(number), room)
                room.enter(guest)
        elif what == "holds":
            room.holds(guest, size)
        elif known:
            getattr(room, what)(guest)
        assert len(room) <= 4
        assert room._total == sum(room._held.values()) <= 100
        assert set(room._held) | set(room._idle) | set(room._silent) <= set(room._guests)
