# SPDX-License-Identifier: Apache-2.0
"""The power is cut after every call: acknowledged data is there, and everything else is in the old or in the new
state.

The bench's own power cut proves recovery but not durability, because its disk is the host's memory. These tests prove
durability.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.core.job import fold
from fluxgymd.core.journal import events as e
from fluxgymd.snapshots import snapshot
from fluxgymd.snapshots.captions import Captions
from fluxgymd.store import journal
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.store.home import JOURNAL, Home
from fluxgymd.store.journal import Journal
from tests.core import histories as h
from tests.store.power_cut import PowerCuts, Tree, build, power_cuts

RUNNING = h.WAYS["running"]
MORE: list[e.AnyEvent] = [h.stop_asked(), h.ended("stopped"), h.RESUME_ASKED]
NEXT: dict[type[e.Event], e.AnyEvent] = {
    e.Started: h.stop_asked(),
    e.StopAsked: h.ended("stopped"),
    e.Ended: h.RESUME_ASKED,
    e.ResumeAsked: h.CANCELLED,
}
"""An event that may follow the last one."""
TAIL = e.encode(h.RESUME_ASKED)[:-5] + bytes(40)
ENDED: e.AnyEvent = h.ended("failed")
REFUSALS = (errno.ENOSPC, errno.EIO)

Check = Callable[[int, Path], None]


def check_all(cuts: PowerCuts, tmp_path: Path, check: Check) -> None:
    """Builds each state on the disk and checks it as a starting daemon would."""
    assert len(cuts.states) > len(cuts.calls) // 2
    for number, (acknowledged, tree) in enumerate(cuts.states):
        after = build(tree, tmp_path / "after" / str(number))
        try:
            check(acknowledged, after)
        except AssertionError as error:
            told = "\n".join(f"  {path}: {content!r:.300}" for path, content in sorted(tree.items()))
            raise AssertionError(f"{error}\nafter {acknowledged} acknowledged and a power cut:\n{told}") from None


def events_of(path: Path) -> list[e.AnyEvent]:
    """The events that count. The journal must be sound."""
    history = journal.read(path)
    assert history.problem is None
    good = [e.decode(line) for line in path.read_bytes()[: history.good_size].splitlines()]
    assert history.job == fold(good)
    return good


def goes_on(path: Path) -> None:
    """Asserts that the next daemon can append, and that a torn tail is kept beside the journal."""
    history = journal.read(path)
    tail = path.read_bytes()[history.good_size :]
    before = events_of(path)
    event = NEXT[type(before[-1])]
    Journal(path, history.good_size).append(event)
    assert events_of(path) == [*before, event]
    copies = [copy.read_bytes() for copy in path.parent.glob(f"{JOURNAL}.torn-*")]
    assert not tail or tail in copies, "promise 8: a torn tail was thrown away"


def old_journal(folder: Path, tail: bytes = b"") -> Path:
    folder.mkdir()
    (folder / JOURNAL).write_bytes(b"".join(map(e.encode, RUNNING)) + tail)
    return folder / JOURNAL


def test_promise_3_an_acknowledged_event_survives_a_power_cut_at_every_call(tmp_path: Path) -> None:
    path = old_journal(tmp_path / "job")
    registry = Journal(path, path.stat().st_size)
    with power_cuts(path.parent) as cuts:
        for event in MORE:
            registry.append(event)
            cuts.acknowledge()

    def check(acknowledged: int, after: Path) -> None:
        asked = [*RUNNING, *MORE]
        found = events_of(after / JOURNAL)
        assert found == asked[: len(found)]
        assert len(RUNNING) + acknowledged <= len(found) <= len(RUNNING) + acknowledged + 1
        goes_on(after / JOURNAL)

    check_all(cuts, tmp_path, check)


def test_promise_8_a_torn_tail_survives_a_power_cut_at_every_call(tmp_path: Path) -> None:
    path = old_journal(tmp_path / "job", TAIL)
    with power_cuts(path.parent) as cuts:
        Journal(path, journal.read(path).good_size).append(MORE[0])
        cuts.acknowledge()

    def check(acknowledged: int, after: Path) -> None:
        found = events_of(after / JOURNAL)
        assert found in ([[*RUNNING, MORE[0]]] if acknowledged else [RUNNING, [*RUNNING, MORE[0]]])
        kept = (after / JOURNAL).read_bytes().endswith(TAIL)
        copies = [copy.read_bytes() for copy in after.glob(f"{JOURNAL}.torn-*")]
        assert kept or TAIL in copies, "the tail is neither where it was nor aside"
        goes_on(after / JOURNAL)

    check_all(cuts, tmp_path, check)


@pytest.mark.parametrize("error", REFUSALS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("tail", [b"", TAIL], ids=["whole", "torn"])
def test_promise_3_a_disk_that_refuses_any_call_loses_nothing_acknowledged(
    tmp_path: Path, error: int, tail: bytes
) -> None:
    """One call after another fails once. The daemon continues and appends another event; then the power is cut."""
    for call in range(100):
        path = old_journal(tmp_path / f"job-{call}", tail)
        registry = Journal(path, journal.read(path).good_size)
        refused = False
        with power_cuts(path.parent, fail_at=call, error=error) as cuts:
            try:
                registry.append(MORE[0])
            except OSError as refusal:
                refused = refusal.errno == error
                registry.append(ENDED)
            cuts.acknowledge()
        if not refused:
            assert call == len(cuts.calls)
            return
        promised = [*RUNNING, ENDED]

        def check(acknowledged: int, after: Path, promised: list[e.AnyEvent] = promised) -> None:
            found = events_of(after / JOURNAL)
            allowed = [promised] if acknowledged else [RUNNING, [*RUNNING, MORE[0]], promised]
            assert found in allowed
            goes_on(after / JOURNAL)

        assert events_of(path) == promised
        check_all(cuts, tmp_path / str(call), check)
    raise AssertionError("there is no end of calls")


def is_refused(registry: Journal, error: int) -> bool:
    try:
        registry.append(MORE[0])
    except OSError as refusal:
        return refusal.errno == error
    return False


@pytest.mark.parametrize("error", REFUSALS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_promise_3_a_refused_event_is_on_no_disk_once_the_journal_is_not_in_doubt(
    tmp_path: Path, error: int, lasting: bool
) -> None:
    """A restart must not find an event that memory doesn't have: a refused reservation would hold a GPU again."""
    in_doubt = 0
    for call in range(100):
        path = old_journal(tmp_path / f"job-{call}")
        registry = Journal(path, journal.read(path).good_size)
        with power_cuts(path.parent, fail_at=call, error=error, lasting=lasting) as cuts:
            if not is_refused(registry, error):
                break
            in_doubt += registry.in_doubt
            cuts.mend()
            if registry.in_doubt:
                registry.settle()
            assert not registry.in_doubt
            cuts.acknowledge()

        def check(acknowledged: int, after: Path) -> None:
            found = events_of(after / JOURNAL)
            assert found in ([RUNNING] if acknowledged else [RUNNING, [*RUNNING, MORE[0]]])
            if acknowledged:
                assert (after / JOURNAL).stat().st_size == journal.read(after / JOURNAL).good_size

        check_all(cuts, tmp_path / str(call), check)
    else:
        raise AssertionError("there is no end of calls")
    assert call == 2  # a write and an fsync
    assert bool(in_doubt) == lasting  # otherwise this test has not covered both cases


def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "owner.json").write_bytes(b"old")
    with power_cuts(folder) as cuts:
        write_file(folder / "owner.json", b"the new one")
        cuts.acknowledge()

    def check(acknowledged: int, after: Path) -> None:
        assert (after / "owner.json").read_bytes() in ([b"the new one"] if acknowledged else [b"old", b"the new one"])

    check_all(cuts, tmp_path, check)


SUBMITTED = h.submitted()


def submit(home: Home, pictures: Path) -> None:
    """Does the same as requests/submit.py in the same order, without the event loop."""
    built = home.new_folder("ab")
    snapshot.take(pictures, built / "dataset", Captions())
    sync_folder(built / "dataset")
    write_file(built / "dataset.toml", b"[general]\n")
    write_file(built / JOURNAL, e.encode(SUBMITTED))
    home.publish(built, "my-lora")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    (folder / "a.txt").write_text("a cat")
    return folder


def job_of(pictures: Path) -> Tree:
    return {
        "dataset/a.png": (pictures / "a.png").read_bytes(),
        "dataset/a.txt": b"a cat",
        "dataset.toml": b"[general]\n",
        JOURNAL: e.encode(SUBMITTED),
    }


def read_tree(folder: Path) -> Tree:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_promise_3_a_submit_is_complete_or_absent_after_a_power_cut_at_every_call(
    tmp_path: Path, pictures: Path
) -> None:
    """The power is cut at each call from the first start of the first daemon on."""
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home")
    with power_cuts(home.path) as cuts:
        home.prepare()
        submit(home, pictures)
        cuts.acknowledge()

    def check(acknowledged: int, after: Path) -> None:
        found = Home(after)
        found.prepare()
        names = [path.name for path in found.outputs.iterdir()]
        assert names == ["my-lora"] if acknowledged else names in ([], ["my-lora"])
        assert [folder.name for folder in found.folders() if folder.is_job] == names
        if names:
            assert read_tree(found.outputs / "my-lora") == job_of(pictures)

    check_all(cuts, tmp_path, check)


def test_a_removed_job_is_complete_or_gone_after_a_power_cut_at_every_call(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home")
    home.prepare()
    submit(home, pictures)
    with power_cuts(home.path) as cuts:
        home.remove(home.folder("my-lora"), "ab")
        cuts.acknowledge()

    def check(acknowledged: int, after: Path) -> None:
        found = Home(after)
        found.prepare()
        names = [path.name for path in found.outputs.iterdir()]
        assert names == [] if acknowledged else names in ([], ["my-lora"])
        if names:
            assert read_tree(found.outputs / "my-lora") == job_of(pictures)

    check_all(cuts, tmp_path, check)


def test_the_model_of_a_power_cut_finds_what_it_should_find(tmp_path: Path) -> None:
    """It finds the classic mistakes: no fsync before the rename, no fsync of the folder, a file written in place."""
    found: dict[str, set[object]] = {}
    for mistake in ("no fsync", "no fsync of the folder", "in place"):
        folder = tmp_path / mistake
        folder.mkdir()
        (folder / "file").write_bytes(b"old")
        with power_cuts(folder) as cuts:
            _write_badly(folder, mistake)
            cuts.acknowledge()
        found[mistake] = {tree.get("file") for acknowledged, tree in cuts.states if acknowledged}
    assert b"" in found["no fsync"]
    assert b"old" in found["no fsync of the folder"]
    assert {b"old", b"new!", b"ne", b""} <= found["in place"]


def _write_badly(folder: Path, mistake: str) -> None:
    target = folder / ("file" if mistake == "in place" else "temporary")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, b"new!")
    if mistake == "no fsync of the folder":
        os.fsync(descriptor)
    os.close(descriptor)
    if mistake != "in place":
        target.rename(folder / "file")
    if mistake == "no fsync":
        sync_folder(folder)
