# SPDX-License-Identifier: Apache-2.0
"""An item that hangs does not hold up the ones after it. What hangs is real: a pipe that no process opens for
writing."""

import os
import threading
from pathlib import Path

import pytest

from fluxgymd.store import roll_call
from fluxgymd.store.roll_call import SILENT, answers
from tests.harness.waiting import DEADLINE_SECONDS


def test_each_item_is_asked_once_and_in_order_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_call, "LOOK_SECONDS", 60.0)  # long enough that no second thread is started
    threads = set()

    def ask(number: int) -> int:
        threads.add(threading.get_ident())
        return -number

    assert list(answers(range(1000), ask, patience=60.0)) == [(number, -number) for number in range(1000)]
    assert len(threads) == 1
    assert list(answers([], ask, patience=60.0)) == []


@pytest.mark.parametrize("most", [512, 2])
def test_promise_8_items_that_hang_hide_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(roll_call, "MOST_ASKED", most)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    well = tmp_path / "well"
    well.write_bytes(b"well")
    items = [pipe if number % 10 == 0 else well for number in range(30)]
    told = list(answers(items, Path.read_bytes, patience=3.0))
    assert sorted(told, key=str) == sorted([(pipe, SILENT)] * 3 + [(well, b"well")] * 27, key=str)
    while True:  # lets the threads end
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            break


def test_an_answer_that_takes_its_time_is_waited_for() -> None:
    asked = threading.Event()
    go_on = threading.Event()

    def ask(number: int) -> int:
        if number == 0:
            asked.set()
            assert go_on.wait(timeout=DEADLINE_SECONDS)
        elif number == 9:
            assert asked.wait(timeout=DEADLINE_SECONDS)
            go_on.set()
        return number

    assert sorted(answers(range(10), ask, patience=60.0)) == [(number, number) for number in range(10)]


def test_a_failure_is_raised() -> None:
    def ask(number: int) -> int:
        return 1 // (5 - number)

    with pytest.raises(ZeroDivisionError):
        list(answers(range(10), ask, patience=60.0))
