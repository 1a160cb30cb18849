# SPDX-License-Identifier: Apache-2.0
"""Tests of the progress from metrics.jsonl and of the last line of the log, whatever the files contain."""

import json
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.files import NotAFile
from fluxgym.protocol.messages import Phase, Progress
from fluxgymctl.prose import words
from fluxgymd.core.measures.pace import StepTime
from fluxgymd.trainers.progress import metrics
from fluxgymd.trainers.progress.appended import end_of
from fluxgymd.trainers.progress.metrics import MetricsLine, MetricsReader, advance


def line(phase: str = "training", **values: Any) -> MetricsLine:
    usual: dict[str, Any] = {"time": 5.0, "phase": Phase(phase)}
    return MetricsLine(**usual | values)


def after(*lines: MetricsLine) -> Progress:
    told: Progress | None = None
    for each in lines:
        told = advance(told, each)
    assert told is not None
    return told


def encoded(*lines: MetricsLine) -> bytes:
    return b"".join(msgspec.json.encode(each) + b"\n" for each in lines)


STEP = line(
    step=10,
    total_steps=100,
    epoch=1,
    total_epochs=4,
    loss=0.5,
    average_loss=0.75,
    learning_rate=1e-3,
    seconds_per_step=2.0,
)


def test_a_line_is_shown_unchanged_with_the_time_that_is_left() -> None:
    assert after(STEP) == Progress(
        phase=Phase.TRAINING,
        step=10,
        total_steps=100,
        epoch=1,
        total_epochs=4,
        loss=0.5,
        average_loss=0.75,
        learning_rate=1e-3,
        seconds_per_step=2.0,
        remaining_seconds=180.0,
        updated_at=5.0,
    )


def test_steps_and_losses_are_kept_through_a_phase_that_has_none() -> None:
    told = after(STEP, line("sampling", time=6.0, done=1, total=4))
    assert (told.phase, told.done, told.total, told.updated_at) == (Phase.SAMPLING, 1, 4, 6.0)
    assert (told.step, told.loss, told.remaining_seconds) == (10, 0.5, 180.0)


def test_the_progress_of_a_phase_does_not_carry_over_to_the_next() -> None:
    told = after(line("caching", done=3, total=8), STEP)
    assert (told.done, told.total) == (None, None)


def test_a_newer_value_replaces_the_old_one_even_if_it_is_zero() -> None:
    told = after(STEP, line(step=0, loss=0.0))
    assert (told.step, told.loss, told.remaining_seconds) == (0, 0.0, 200.0)


@pytest.mark.parametrize(
    ("values", "remaining"),
    [
        ({"step": 100, "total_steps": 100, "seconds_per_step": 2.0}, 0.0),
        ({"step": 101, "total_steps": 100, "seconds_per_step": 2.0}, 0.0),
        ({"step": 0, "total_steps": 3, "seconds_per_step": 0.5}, 1.5),
        ({"step": 5, "total_steps": 10}, None),
        ({"step": 5, "seconds_per_step": 1.0}, None),
        ({"total_steps": 10, "seconds_per_step": 1.0}, None),
    ],
)
def test_the_time_that_is_left(values: dict[str, Any], remaining: float | None) -> None:
    assert after(line(**values)).remaining_seconds == remaining


def test_a_phase_of_a_newer_trainer_is_unknown_and_its_numbers_are_shown() -> None:
    newer = msgspec.json.decode(b'{"time":1,"phase":"dreaming","step":7,"mood":"good"}', type=MetricsLine)
    assert (newer.phase, newer.step) == (Phase.UNKNOWN, 7)


IMPOSSIBLE = [
    b'"totalSteps":9' + b"0" * 400,
    b'"totalSteps":9' + b"0" * 5000,
    b'"loss":9' + b"0" * 400,
    b'"loss":1e999',
    b'"loss":NaN',
    b'"loss":-Infinity',
    b'"step":-1',
    b'"step":18446744073709551616',
    b'"epoch":1e3',
    b'"secondsPerStep":1e300',
    b'"secondsPerStep":-1',
    b'"time":1e300',
    b'"phase":null',
]


class TestMetricsReader:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "metrics.jsonl"

    def test_appended_lines_are_read_once(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        assert not reader.read()  # no file yet
        path.write_bytes(encoded(line("loading")))
        assert reader.read()
        assert reader.progress == after(line("loading"))
        with path.open("ab") as file:
            file.write(encoded(STEP))
        assert reader.read()
        assert reader.progress == after(line("loading"), STEP)
        assert not reader.read()
        assert not reader.read()

    def test_lines_of_earlier_attempts_are_not_read(self, path: Path) -> None:
        path.write_bytes(encoded(STEP))
        reader = MetricsReader(path, path.stat().st_size)
        assert not reader.read()
        assert reader.progress is None

    def test_a_line_is_read_once_it_is_complete(self, path: Path) -> None:
        whole = encoded(STEP)
        reader = MetricsReader(path, 0)
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            assert not reader.read()
        path.write_bytes(whole)
        assert reader.read()
        assert reader.progress == after(STEP)

    def test_promise_7_reading_continues_after_a_file_was_emptied(self, path: Path) -> None:
        """The lines before the reader notices that the file is shorter may come from an earlier attempt."""
        path.write_bytes(encoded(line("loading"), STEP))
        reader = MetricsReader(path, 0)
        assert reader.read()
        path.write_bytes(encoded(line("saving")))
        assert not reader.read()
        with path.open("ab") as file:
            file.write(encoded(line("training", step=9)))
        assert reader.read()
        assert reader.progress is not None
        assert reader.progress.step == 9

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\n",
            b"garbage\n",
            b"{}\n",
            b'{"time":"noon","phase":"training"}\n',
            b'{"time":1,"phase":"tra\xffining"}\n',
            b'{"time":1,"phase":"training","x":' + b"[" * 100_000 + b"\n",
            bytes(50) + b"\n",
            b"\xff\xfe\n",
            b"{" * 3_000_000 + b"\n",
            *(b'{"time":1,"phase":"training",' + field + b"}\n" for field in IMPOSSIBLE),
        ],
        ids=lambda garbage: repr(garbage[:60]),
    )
    def test_a_line_that_cannot_be_read_is_skipped(self, path: Path, garbage: bytes) -> None:
        path.write_bytes(encoded(line("loading")) + garbage + encoded(STEP))
        reader = MetricsReader(path, 0)
        assert reader.read()
        assert reader.progress == after(line("loading"), STEP)

    def test_all_accepted_numbers_can_be_sent_and_shown(self, path: Path) -> None:
        limits = {"step": 0, "totalSteps": 10**15, "secondsPerStep": 1e9, "loss": 1.7e308, "learningRate": -5e-324}
        path.write_bytes(json.dumps({"time": 1e11, "phase": "training", **limits}).encode() + b"\n")
        reader = MetricsReader(path, 0)
        assert reader.read()
        assert reader.progress is not None
        assert msgspec.json.decode(msgspec.json.encode(reader.progress), type=Progress) == reader.progress
        assert words.duration(reader.progress.remaining_seconds)
        assert words.timestamp(reader.progress.updated_at)

    def test_only_the_newest_lines_of_a_flood_are_read_in_little_memory(self, path: Path) -> None:
        """1 GiB used to cost the daemon 1 GB of memory, again at each look while the last line had no end."""
        reader = MetricsReader(path, 0)
        with path.open("wb") as file:
            file.truncate(1 << 30)
        tracemalloc.start()
        assert not reader.read()
        with path.open("ab") as file:
            file.write(encoded(line(step=8), STEP) * 50_000)
        tracemalloc.reset_peak()  # what was written is the test's own
        assert reader.read()
        with path.open("ab") as file:
            file.write(b"{" * 100_000)
        assert not reader.read()
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()
        assert reader.progress is not None
        assert reader.progress.step == STEP.step

    def test_promise_7_a_file_that_was_replaced_says_nothing(self, path: Path) -> None:
        path.write_bytes(encoded(STEP))
        reader = MetricsReader(path, 0)

        def problem() -> str | None:
            return reader.problem

        assert reader.read()
        assert problem() is None
        path.rename(path.with_name("moved"))
        assert not reader.read()
        assert problem() == "metrics.jsonl is missing"
        path.write_bytes(encoded(line("saving")))
        assert not reader.read()
        assert problem() == "metrics.jsonl was replaced by another file"
        assert reader.progress == after(STEP), "what was read before stays"
        path.with_name("moved").rename(path)
        with path.open("ab") as file:
            file.write(encoded(line("saving")))
        assert reader.read()
        assert problem() is None

    def test_promise_7_the_recorded_file_is_distinguished_from_another_one_after_a_restart(self, path: Path) -> None:
        began = end_of(path)
        assert (path.stat().st_size, began.size) == (0, 0)
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").rename(path)
        path.write_bytes(encoded(STEP))
        reader = MetricsReader(path, began.size, inode=began.inode)
        assert not reader.read()
        assert (reader.progress, reader.problem) == (None, "metrics.jsonl was replaced by another file")

    def test_a_fifo_is_not_waited_for(self, path: Path) -> None:
        os.mkfifo(path)
        reader = MetricsReader(path, 0)
        assert not reader.read()
        assert reader.problem == "metrics.jsonl cannot be read: it is a FIFO, not a regular file"
        with pytest.raises(NotAFile, match="it is a FIFO, not a regular file"):
            end_of(path)

    def test_the_longest_time_between_two_steps_is_reported_once(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        path.write_bytes(encoded(*(line(time=at, step=step) for at, step in [(1.0, 1), (3.0, 2), (3.5, 3)])))
        assert reader.read()
        assert reader.longest_step == 2.0
        with path.open("ab") as file:
            file.write(encoded(line(time=4.25, step=4)))
        assert reader.read()
        assert reader.longest_step == 0.75, "since the step that was read before"
        assert not reader.read()
        assert reader.longest_step is None

    def test_the_times_of_consecutive_steps_are_reported_once(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        path.write_bytes(
            encoded(
                line(time=1.0, step=1),
                line(time=3.0, step=2),
                line(time=3.5, step=2, work=1),
                line(time=4.0, step=4),  # a line that could not be written is missing
                line("sampling", time=5.0, done=0),
                line(time=90.0, step=5),
                line(time=91.0, step=1),  # it went back to a checkpoint
                line(time=90.5, step=2),  # the clock was set back
                line(time=92.0, step=3),
            )
        )
        assert reader.read()
        assert reader.step_times == [
            StepTime(at=3.0, seconds=2.0),
            StepTime(at=4.0, seconds=1.0, steps=2),
            StepTime(at=92.0, seconds=1.5),
        ]
        assert not reader.read()
        assert reader.step_times == []

    def test_the_highest_step_is_kept_while_lower_ones_are_reported_again(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        path.write_bytes(encoded(*(line(step=step) for step in (5, 6, 7, 0, 1)), line("sampling", done=0)))
        assert reader.read()
        assert reader.progress is not None
        assert (reader.progress.step, reader.highest_step) == (1, 7)
        with path.open("ab") as file:
            file.write(encoded(line(step=8)))
        assert reader.read()
        assert reader.highest_step == 8

    def test_another_phase_between_two_steps_does_not_count_as_step_time(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        path.write_bytes(
            encoded(line(time=1.0, step=1), line("sampling", time=2.0, done=0), line(time=900.0, step=2))
        )
        assert reader.read()
        assert reader.longest_step is None

    def test_micro_steps_are_work_but_not_steps(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        path.write_bytes(encoded(*(line(time=float(work), step=0, work=work) for work in range(1, 5))))
        assert reader.read()
        assert (reader.work, reader.longest_step) == (4, None)
        with path.open("ab") as file:
            file.write(encoded(line(time=5.0, step=1)))
        assert reader.read()
        assert reader.longest_step == 4.0
        assert reader.progress is not None
        assert reader.progress.done is None

    def test_the_done_count_is_the_work_if_nothing_smaller_is_reported(self, path: Path) -> None:
        reader = MetricsReader(path, 0)
        path.write_bytes(encoded(line("caching", done=3, total=8)))
        assert reader.read()
        assert reader.work == 3
        with path.open("ab") as file:
            file.write(encoded(line("sampling", done=1, total=4, work=23)))
        assert reader.read()
        assert reader.work == 23


def test_the_size_of_a_missing_file_is_0(tmp_path: Path) -> None:
    assert metrics.size(tmp_path / "nothing") == 0
    (tmp_path / "file").write_bytes(b"abc")
    assert metrics.size(tmp_path / "file") == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", None),
        (b"\n \n\r\n", None),
        (b"one\ntwo\n\n", "two"),
        (b"one\ntwo", "two"),
        (b"Traceback\n  line\nValueError: no picture\n", "ValueError: no picture"),
        # A progress bar is one line on a terminal, but many segments in a file.
        (b"start\nsteps:  10%|# | 1/10\rsteps:  20%|##| 2/10\r", "steps:  20%|##| 2/10"),
        (b"steps:  10%|# | 1/10\r\nerror: disk full\n", "error: disk full"),
        (b"caf\xc3\xa9 \xff\n", "café \ufffd"),
        (b"x" * 900 + b"\n", "x" * 500),
        (b"said\n" + bytes(9000), None),
        (b"said\n" + bytes(900), "said"),
        (b"\x1b[31mred\x1b[0m\x07\n", "[31mred [0m"),
    ],
)
def test_the_last_meaningful_line_of_the_log(tmp_path: Path, content: bytes, says: str | None) -> None:
    log = tmp_path / "training.log"
    log.write_bytes(content)
    assert metrics.last_line(metrics.tail(log, 0)) == says


def test_the_tail_is_that_of_this_attempt(tmp_path: Path) -> None:
    log = tmp_path / "training.log"
    log.write_bytes(b"error of the first attempt\n")
    offset = log.stat().st_size
    assert metrics.tail(log, offset) == ""
    with log.open("ab") as file:
        file.write(b"first\rsecond\nthird")
    assert metrics.tail(log, offset) == "first\nsecond\nthird"
    assert metrics.tail(log, offset + 100) == ""  # the log was truncated


def test_the_tail_of_a_long_log_is_its_end(tmp_path: Path) -> None:
    log = tmp_path / "training.log"
    log.write_bytes("ä line\n".encode() * 10_000 + b"the end\n")
    text = metrics.tail(log, 0)
    assert len(text.encode()) <= metrics.TAIL_BYTES + 2  # the half of a character at the cut becomes U+FFFD
    assert metrics.last_line(text) == "the end"


def test_without_a_log_there_is_no_tail(tmp_path: Path) -> None:
    assert metrics.tail(tmp_path / "training.log", 0) == ""
    assert metrics.last_line("") is None


def test_a_step_that_the_training_does_not_have_is_ignored(tmp_path: Path) -> None:
    """If it counted, every true step would seem repeated, and a healthy training would be judged stuck."""
    told = [STEP, line(step=10**9), line(step=101, total_steps=100), line(step=11)]
    (tmp_path / "metrics.jsonl").write_bytes(encoded(*told))
    reader = MetricsReader(tmp_path / "metrics.jsonl", 0)
    assert reader.read()
    assert reader.highest_step == 11
    assert reader.progress == after(STEP, line(step=11))
