# SPDX-License-Identifier: Apache-2.0
"""Tests of reading progress from sd-scripts' output: from complete recorded logs, and from single lines that could be
misread.

`sd-scripts-whole.log` and `sd-scripts-resumed.log` come from training.log of two jobs of sd-scripts at 48d368f: a
cold start with samples, and an attempt that continued from the first of three epochs of four steps.
"""

import os
import re
import tracemalloc
from itertools import groupby
from pathlib import Path

import pytest

from fluxgym.protocol.messages import Phase, Progress
from fluxgymd.core.measures.pace import StepTime
from fluxgymd.trainers.progress.output import OutputReader, understand

DATA = Path(__file__).parents[1] / "data"


def states(*segments: str, first_step: int = 0) -> list[Progress | None]:
    """Returns the progress after each of these segments."""
    told: list[Progress | None] = [None]
    for segment in segments:
        told.append(understand(told[-1], segment, at=5.0, first_step=first_step))
    return told[1:]


def last(*segments: str, first_step: int = 0) -> Progress:
    told = states(*segments, first_step=first_step)[-1]
    assert told is not None
    return told


def recorded(name: str, *, first_step: int) -> list[Progress]:
    segments = re.split(r"[\r\n]+", (DATA / name).read_bytes().decode())
    return [told for told in states(*segments, first_step=first_step) if told is not None]


def bar(done: int, loss: str = ", avr_loss=2.5") -> str:
    return f"steps:  12%|█▎        | {done}/16 [00:11<01:22,  5.88s/it{loss}]"


RICH = "2026-11-23 13:14:02 INFO     "
TRAINING = ("epoch 1/4", bar(1, ""))


def test_a_bar_shows_step_total_loss_and_speed() -> None:
    assert last("epoch 1/4", bar(2, ", avr_loss=2.69")) == Progress(
        phase=Phase.TRAINING,
        step=2,
        total_steps=16,
        epoch=1,
        total_epochs=4,
        average_loss=2.69,
        seconds_per_step=5.88,
        remaining_seconds=14 * 5.88,
        updated_at=5.0,
    )


def test_after_a_resume_the_bar_counts_from_zero_to_the_total_of_all_attempts() -> None:
    told = last("epoch 3/4", bar(1), first_step=8)
    assert (told.step, told.total_steps, told.epoch) == (9, 16, 3)


@pytest.mark.parametrize(
    ("postfix", "loss"),
    [
        ("", None),
        (", avr_loss=0.0312", 0.0312),
        (", avr_loss=1e-05", 1e-05),
        (", Average key norm=0.1, Keys Scaled=3, avr_loss=2.69", 2.69),
        (", avr_loss=nan", None),
        (", avr_loss=inf", None),
    ],
)
def test_the_loss_in_every_form(postfix: str, loss: float | None) -> None:
    assert last("epoch 1/4", bar(1, postfix)).average_loss == loss


@pytest.mark.parametrize(("rate", "seconds"), [("?it/s", None), (" 4.00it/s", 0.25), (" 5.88s/it", 5.88)])
def test_the_speed_in_both_units(rate: str, seconds: float | None) -> None:
    assert last("epoch 1/4", f"steps:  12%|█▎        | 2/16 [1:00:11<?, {rate}]").seconds_per_step == seconds


@pytest.mark.parametrize(
    "segment",
    [
        "  0%|          | 0/20 [00:00<?, ?it/s]",
        f"{RICH}epoch is incremented. current_epoch: 0, epoch: 1",
        "a caption with steps:  50%|#  | 99/100 [00:01<00:01,  4.01it/s]",
        "steps:  50%|█████     | 5/10 [00:01<00",
        f"steps:  50%|█████     | {'9' * 5000}/10 [00:01<00:01,  4.01it/s]",
        "steps:  50%|█████     | 5/10 [00:01<00:01,  4.0.1it/s]",
        f"epoch {'9' * 5000}/10",
        "",
    ],
)
def test_text_that_only_looks_like_a_step_is_not_one(segment: str) -> None:
    before = last(*TRAINING)
    assert understand(before, segment, at=6.0, first_step=0) is before


@pytest.mark.parametrize(
    "segment",
    [
        "validation steps:  50%|█████     | 5/10 [00:01<00:01,  4.01it/s]",
        "epoch validation steps:  50%|█████     | 5/10 [00:01<00:01,  4.01it/s, val_epoch_avg_loss=1]",
    ],
)
def test_promise_7_a_validation_is_not_a_step_but_its_progress_is_seen(segment: str) -> None:
    """A validation of many pictures takes longer than a step may."""
    told = last(*TRAINING, segment)
    assert (told.phase, told.step, told.done, told.total) == (Phase.TRAINING, 1, 5, 10)


@pytest.mark.parametrize(
    ("segment", "phase"),
    [
        (f"{RICH}Loading dataset config from    train_network.py:519", Phase.LOADING),
        ("                    INFO     Loading state dict from           flux_utils.py:124", Phase.LOADING),
        ("                    INFO     caching latents with caching     train_util.py:1120", Phase.CACHING),
        ("caching Text Encoder outputs...", Phase.CACHING),
        ("                    INFO     generating sample images at  flux_train_utils.py:61", Phase.SAMPLING),
        ("saving checkpoint: /home/my-lora/my-lora-000001.safetensors", Phase.SAVING),
        ("                    INFO     saving state at epoch 1          train_util.py:5943", Phase.SAVING),
        ("                    INFO     saving last state.               train_util.py:5990", Phase.SAVING),
        ("                    INFO     model saved.                  train_network.py:1729", Phase.FINISHING),
        ("resuming from /home/my-lora/my-lora-000001-state at step 60", Phase.LOADING),
        ("starting to train", Phase.LOADING),
        ("training finished", Phase.FINISHING),
    ],
)
def test_a_phase_is_recognized_by_the_start_of_a_line_wrapped_or_plain(segment: str, phase: Phase) -> None:
    assert last(segment).phase is phase


def test_a_redrawn_bar_ends_no_phase_but_a_new_loss_does() -> None:
    saving = (*TRAINING, bar(1), "saving checkpoint: x")
    assert last(*saving, bar(1)).phase is Phase.SAVING
    assert last(*saving, bar(1, ", avr_loss=2.4")).phase is Phase.TRAINING
    assert last(*saving, bar(2)).phase is Phase.TRAINING
    assert last(*saving, "model saved.", bar(2)).phase is Phase.FINISHING


def test_the_steps_of_a_sample_are_counted_and_forgotten_after_it() -> None:
    sampling = (*TRAINING, "generating sample images at step", " 20%|██        | 4/20 [00:01<00:04,  4.01it/s]")
    told = last(*sampling)
    assert (told.phase, told.done, told.total, told.step) == (Phase.SAMPLING, 4, 20, 1)
    told = last(*sampling, bar(2))
    assert (told.phase, told.done, told.total, told.step) == (Phase.TRAINING, None, None, 2)


def phases(told: list[Progress]) -> list[str]:
    return [phase for phase, _ in groupby(progress.phase.value for progress in told)]


def test_the_phases_of_a_whole_recorded_run() -> None:
    told = recorded("sd-scripts-whole.log", first_step=0)
    begin, epoch, end = ["loading", "caching", "loading"], ["training", "saving", "sampling"], ["saving", "finishing"]
    assert phases(told) == [*begin, *epoch, *epoch, "training", "sampling", *end]
    assert {progress.total_steps for progress in told if progress.step is not None} == {12}
    assert [step for step, _ in groupby(progress.step for progress in told) if step is not None] == list(range(13))


def test_a_recorded_resumed_attempt_ends_at_the_planned_step() -> None:
    told = recorded("sd-scripts-resumed.log", first_step=4)
    assert phases(told)[-5:] == ["training", "saving", "training", "saving", "finishing"]
    assert [step for step, _ in groupby(progress.step for progress in told) if step is not None] == list(range(4, 13))
    assert (told[-1].step, told[-1].total_steps, told[-1].epoch, told[-1].total_epochs) == (12, 12, 3, 3)


class TestOutputReader:
    def test_new_output_is_read_from_an_offset_on_and_a_bar_before_its_end_of_line(self, tmp_path: Path) -> None:
        log = tmp_path / "training.log"
        log.write_text(f"epoch 1/4\n\r{bar(7)}")
        reader = OutputReader(log, log.stat().st_size, first_step=8)
        assert not reader.read()
        for text, step in ((f"\nepoch 3/4\n\r{bar(1)}", 9), (f"\r{bar(2)[:40]}", 9), (bar(2)[40:], 10)):
            with log.open("a") as file:
                file.write(text)
            reader.read()
            assert reader.progress is not None
            assert (reader.progress.step, reader.progress.updated_at) == (step, log.stat().st_mtime)
        assert not reader.read()

    def test_the_result_is_the_same_however_the_log_is_cut(self, tmp_path: Path) -> None:
        data = (DATA / "sd-scripts-whole.log").read_bytes()
        log = tmp_path / "training.log"
        reader = OutputReader(log, 0, first_step=0)
        for end in range(0, len(data) + 499, 499):
            log.write_bytes(data[:end])
            reader.read()
        assert reader.progress is not None
        assert (reader.progress.phase, reader.progress.step, reader.progress.epoch) == (Phase.FINISHING, 12, 3)

    def test_promise_7_reading_continues_after_a_log_was_emptied(self, tmp_path: Path) -> None:
        log = tmp_path / "training.log"
        log.write_text(f"epoch 1/4\n\r{bar(7)}\r")
        reader = OutputReader(log, 0, first_step=0)
        assert reader.read()
        log.write_text("")
        assert not reader.read()
        log.write_text(f"{bar(8)}\r")
        assert reader.read()
        assert reader.progress is not None
        assert reader.progress.step == 8

    def test_a_line_without_an_end_does_not_fill_the_memory(self, tmp_path: Path) -> None:
        log = tmp_path / "training.log"
        reader = OutputReader(log, 0, first_step=0)
        tracemalloc.start()
        for _ in range(3):
            with log.open("ab") as file:
                file.write(b"x" * 3_000_000)
            assert not reader.read()
        assert tracemalloc.get_traced_memory()[1] < 2_000_000 + 3_000_000  # the second is the written piece
        tracemalloc.stop()
        with log.open("a") as file:
            file.write(f"\nepoch 1/4\n\r{bar(7)}\r")
        assert reader.read()
        assert reader.progress is not None
        assert reader.progress.step == 7

    def test_the_time_of_steps_is_the_time_between_reads(self, tmp_path: Path) -> None:
        log = tmp_path / "training.log"
        log.touch()
        reader = OutputReader(log, 0, first_step=0)
        told = []
        for at, text in (
            (100.0, f"epoch 1/4\n\r{bar(1)}"),
            (102.0, f"\r{bar(2)}"),
            (102.5, "\r"),
            (105.0, f"{bar(3)}\r{bar(4)}\r{bar(5)}"),
            (106.0, "\ngenerating sample images at step: 5\n"),
            (190.0, f"{bar(6)}\r"),
            (192.0, f"{bar(7)}\r"),
        ):
            with log.open("a") as file:
                file.write(text)
            os.utime(log, (at, at))
            reader.read()
            times = reader.step_times
            told.append((sum(time.seconds for time in times), sum(time.steps for time in times)))
        assert told == [(0.0, 1), (2.0, 1), (0, 0), (3.0, 3), (0, 0), (0, 0), (2.0, 1)]
        assert reader.step_times == [StepTime(at=192.0, seconds=2.0)]

    def test_without_a_log_there_is_no_progress(self, tmp_path: Path) -> None:
        reader = OutputReader(tmp_path / "training.log", 0, first_step=0)
        assert not reader.read()
        assert reader.progress is None
