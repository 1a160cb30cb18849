# SPDX-License-Identifier: Apache-2.0
"""--debug_hang: the trainer hangs where the flag says, its stack shows it, and with --debug_hang_once only once."""

from __future__ import annotations

import dataclasses
import signal

import psutil
import pytest

from library import debug_hang
from library.debug_hang import HangPoint
from library.options.arguments import parse
from tests.harness.waiting import until
from tests.sd_scripts.command_line import REQUIRED
from tests.sd_scripts.running import Outcome, Settings, running, train


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("spin@training:40", HangPoint(kind="spin", place="training", number=40)),
        ("sleep@saving", HangPoint(kind="sleep", place="saving", number=1)),
    ],
)
def test_a_hang_has_a_kind_a_place_and_a_number(text: str, point: HangPoint) -> None:
    assert parse((REQUIRED + f"--debug_hang {text}").split()).debug_hang == point


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "--debug_hang spin",
            "is not KIND@PLACE[:N], where KIND is one of deadlock, spin, stop, write, sleep and PLACE is one of",
        ),
        ("--debug_hang turn@training", "'turn@training' is not"),
        ("--debug_hang spin@lunch", "loading, caching, batches, training, sampling, saving"),
        ("--debug_hang spin@training:0", "is not KIND@PLACE[:N]"),
        ("--debug_hang spin@training:", "is not KIND@PLACE[:N]"),
        ("--debug_hang_once x", "--debug_hang_once is given, but --debug_hang does not say where to hang"),
    ],
)
def test_a_wrong_hang_gets_one_sentence(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse((REQUIRED + words).split())
    message = capsys.readouterr().err
    assert left.value.code == 2
    assert says in message
    assert message.count("\n") == 1


def test_each_kind_is_described_by_its_name() -> None:
    assert {name: function.__name__ for name, function in debug_hang.KINDS.items()} == {
        name: name for name in debug_hang.KINDS
    }


@pytest.mark.parametrize(
    ("kind", "place", "function"),
    [
        ("sleep", "loading", "run"),
        ("sleep", "caching", "_count"),
        ("deadlock", "batches:3", "batch"),
        ("spin", "training:3", "micro_step"),
        ("write", "sampling:3", "_denoise"),
        ("sleep", "saving", "fill"),
    ],
)
def test_it_hangs_where_it_says_and_only_once(settings: Settings, kind: str, place: str, function: str) -> None:
    once = settings.folder / "hung"
    hanging = settings.with_samples().plus(f"--debug_hang {kind}@{place} --debug_hang_once {once}")
    errors = settings.folder / "out.stderr"
    with running(hanging) as trainer:
        until(lambda: once.exists() or trainer.process.poll() is not None, what="the hang")

        def shown() -> bool:
            trainer.process.send_signal(signal.SIGQUIT)
            stack = [line.split()[-1] for line in errors.read_text().splitlines() if line.startswith("  File")]
            calls = [*zip(stack, stack[1:], stack[2:], strict=False)]
            return (kind, "here", function) in calls

        until(shown, what=f"a stack with {kind} in {function}")
        assert trainer.process.poll() is None
    assert train(dataclasses.replace(hanging, output="again")).lora.exists()


def test_a_process_that_stopped_itself_continues_on_a_signal(settings: Settings) -> None:
    with running(settings.plus("--debug_hang stop@training:5")) as trainer:
        about = psutil.Process(trainer.process.pid)
        until(lambda: about.status() == psutil.STATUS_STOPPED, what="it to be stopped")
        trainer.process.send_signal(signal.SIGCONT)
        outcome: Outcome = trainer.finish()
    assert outcome.status == 0, outcome.stderr
