# SPDX-License-Identifier: Apache-2.0
"""Programs that parse large files: few run at once, none blocks another, and none blames the disk wrongly."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import StorageFailed
from fluxgymd.background import bounded, helpers, lanes, turns
from fluxgymd.background.bounded import ProgramOutput
from fluxgymd.background.lanes import NoAnswer
from fluxgymd.background.turns import DAEMON
from fluxgymd.store import large_files
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import DEADLINE_SECONDS, until

WAITS = "import signal; signal.pause()"
SAYS = "print('done')"


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> large_files._Places:
    """Places for this test alone."""
    fresh = large_files._Places()
    monkeypatch.setattr(large_files, "_places", fresh)
    return fresh


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(text: str) -> None:
        monkeypatch.setattr(helpers, "command", lambda *_: [sys.executable, "-c", text])

    return use


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def ask() -> bytes:
    return large_files.ask("module", Path("/x"), most=100)


def test_promise_10_daemon_and_clients_have_limited_numbers_of_programs_and_a_session_has_one(
    places: large_files._Places,
) -> None:
    def full(whose: turns.Client) -> bool:
        try:
            with places.one(whose, 0.0):
                return False
        except TimeoutError:
            return True

    with places.one(DAEMON, 0.0), places.one(DAEMON, 0.0):
        assert full(DAEMON)
        with places.one((1,), 0.0):
            assert full((1,))
            with places.one((2,), 0.0):
                assert full((3,))
            assert not full((2,))
    for whose in (DAEMON, (1,), (2,), (3,)):
        assert not full(whose)


def test_promise_10_only_a_limited_number_run_at_the_same_time(
    threads: ThreadPoolExecutor, program: Callable[[str], None], tmp_path: Path
) -> None:
    program(
        "import os, pathlib\n"
        f"running = pathlib.Path({str(tmp_path)!r})\n"
        "mine = running / str(os.getpid())\n"
        "mine.touch()\n"
        "most = max(len(os.listdir(running)) for _ in range(2000))\n"
        "mine.unlink()\n"
        "print(most)"
    )
    most = [int(one.result(DEADLINE_SECONDS)) for one in [threads.submit(ask) for _ in range(12)]]
    assert max(most) <= large_files.AT_ONCE


def test_promise_10_a_hung_volume_keeps_no_place_occupied(
    tmp_path: Path, threads: ThreadPoolExecutor, program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[bool] = []
    run = bounded.run

    def noticed(words: Sequence[str], *, over: Callable[[], None], **how: Any) -> ProgramOutput:
        def killed_now() -> None:
            over()
            killed.append(True)

        return run(words, over=killed_now, **how)

    with HungVolume(tmp_path):
        program(f"open({str(tmp_path / 'file')!r})")
        with monkeypatch.context() as briefly:
            briefly.setattr(bounded, "run", noticed)
            briefly.setattr(large_files, "SECONDS", 2.0)
            hung = [threads.submit(ask) for _ in range(large_files.AT_ONCE)]
            until(lambda: len(killed) == large_files.AT_ONCE, what="their time to be over")
        assert not any(one.done() for one in hung), "they were to be kept alive by the volume"
        program(SAYS)
        assert ask() == b"done\n"
    for one in hung:
        with pytest.raises(NoAnswer):
            one.result(DEADLINE_SECONDS)


def test_a_client_is_told_about_the_program_and_not_about_the_disk(
    program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(WAITS)
    monkeypatch.setattr(lanes, "PATIENCE_SECONDS", DEADLINE_SECONDS)
    monkeypatch.setattr(large_files, "HASTE_SECONDS", DEADLINE_SECONDS - 1.0)
    monkeypatch.setattr(large_files, "SECONDS", 2 * DEADLINE_SECONDS)
    sentence = "/x could not be examined: the program that parses it gave no answer in time; the machine may be busy."
    with pytest.raises(StorageFailed) as told:
        asyncio.run(lanes.answer("x", ask))
    assert str(told.value) == sentence


def test_it_works_on_behalf_of_its_lane(program: Callable[[str], None], places: large_files._Places) -> None:
    program(SAYS)

    async def scenario() -> bytes:
        turns.client.set((1, 2, 3))
        return await lanes.run("x", ask)

    with places.one(DAEMON, 0.0), places.one(DAEMON, 0.0):
        assert asyncio.run(scenario()) == b"done\n"


def test_a_killed_program_has_given_no_answer(program: Callable[[str], None]) -> None:
    program("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(NoAnswer, match="was killed"):
        ask()


def test_a_failed_program_is_not_reported_as_slow(program: Callable[[str], None]) -> None:
    program("raise SystemExit(3)")
    with pytest.raises(OSError, match="ended with status 3") as told:
        ask()
    assert not isinstance(told.value, NoAnswer)
