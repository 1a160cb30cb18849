# SPDX-License-Identifier: Apache-2.0
"""How the trainer answers signals in each phase. test_program.py tests loading, caching and sampling."""

from __future__ import annotations

import faulthandler
import os
import re
import signal
from collections.abc import Callable

import pytest
import torch

from library.flow import batch_loss
from library.signals import StopRequest, Wishes
from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import STEPS, assert_nothing_half, assert_same_lora, states_of
from tests.sd_scripts.running import Line, Outcome, Settings, running, train


def test_a_request_is_granted_once() -> None:
    wishes = Wishes()
    assert (wishes.take_save(), wishes.take_sample()) == (False, False)
    for signum in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2):
        wishes.handle(signum, None)
    assert (wishes.take_save(), wishes.take_save()) == (True, False)
    assert (wishes.take_sample(), wishes.take_sample()) == (True, False)


def test_sigusr1_saves_and_sigusr2_samples_and_the_training_continues_unchanged(
    long_settings: Settings, undisturbed: Outcome
) -> None:
    """Samples draw nothing from the training's generators, so the LoRA is that of the undisturbed run."""
    with running(long_settings.with_samples()) as trainer:
        trainer.wait_for(lambda line: line.get("step", 0) > 1)
        trainer.signal_group(signal.SIGUSR1)
        trainer.signal_group(signal.SIGUSR2)
        outcome = trainer.finish()
    assert outcome.status == 0, outcome.stderr
    ((state, step),) = [item for item in states_of(outcome).items() if "-step" in item[0]]
    assert state == f"lora-step{step:08d}-state"
    assert (outcome.output_dir / f"lora-step{step:08d}.safetensors").is_file()
    asked = [path.name for path in (outcome.output_dir / "sample").glob("lora_*") if "_e0" not in path.name]
    assert [re.sub(r"\d{14}", "DATE", name) for name in sorted(asked)] == [
        f"lora_{step:06d}_00_DATE_7.png",
        f"lora_{step:06d}_01_DATE.png",
    ]
    assert_same_lora(undisturbed.lora, outcome.lora)
    resumed = train(long_settings.plus(f"--resume {outcome.output_dir / state}", output="resumed"))
    assert [line["step"] for line in resumed.steps()][-1] == STEPS
    assert_same_lora(undisturbed.lora, resumed.lora)


def test_a_request_before_the_first_step_is_granted_after_it(settings: Settings) -> None:
    with running(settings) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "starting")
        trainer.signal_group(signal.SIGUSR1)
        trainer.signal_group(signal.SIGUSR2)
        outcome = trainer.finish()
    assert outcome.status == 0, outcome.stderr
    assert states_of(outcome)["lora-step00000001-state"] == 1
    assert "cannot make samples: --sample_prompts is not set" in outcome.stdout


def test_a_request_that_fails_does_not_end_the_training(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file is in the way where the state would be written."""
    monkeypatch.setattr(Wishes, "take_save", lambda _self: True)
    settings.output_dir.mkdir()
    (settings.output_dir / "lora-step00000002-state.tmp").write_text("in the way")
    outcome = run(settings)
    assert (outcome.error, outcome.steps[-1]) == (None, 18)
    assert "lora-step00000002-state could not be saved" in capfd.readouterr().out
    assert (settings.output_dir / "lora-step00000003-state").is_dir()


def starting(line: Line) -> bool:
    return bool(line["phase"] == "starting")


def captions(line: Line) -> bool:
    """Caching has reached its second item, a picture or a caption."""
    return bool(line["phase"] == "caching" and line.get("done", 0) >= 1)


def accumulating(line: Line) -> bool:
    return bool(line["phase"] == "training" and line["step"] >= 1)


def saving(line: Line) -> bool:
    return bool(line["phase"] == "saving")


@pytest.mark.parametrize("phase", [starting, captions, accumulating, saving])
def test_sigterm_to_the_entire_group_leaves_nothing_half_done(
    phase: Callable[[Line], bool], long_settings: Settings
) -> None:
    """All trained steps are saved, and the exit status is 143."""
    accumulated = long_settings.plus("--gradient_accumulation_steps 4 --network_train_unet_only")
    with running(accumulated) as trainer:
        trainer.wait_for(phase)
        trainer.signal_group(signal.SIGTERM)
        outcome = trainer.finish()
    assert outcome.status == 143, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert_nothing_half(outcome)
    assert not outcome.lora.exists()
    trained = max((line["step"] for line in outcome.steps()), default=0)
    stopped = {name: step for name, step in states_of(outcome).items() if "-step" in name}
    assert stopped == ({f"lora-step{trained:08d}-state": trained} if trained else {})
    assert (trained > 0) == (phase in (accumulating, saving))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_and_a_closed_terminal_save_as_sigterm_does(
    number: signal.Signals, long_settings: Settings
) -> None:
    with running(long_settings) as trainer:
        trainer.wait_for(lambda line: line.get("step", 0) >= 1)
        trainer.signal_group(number)
        outcome = trainer.finish()
    assert outcome.status == 128 + number, outcome.stderr
    trained = outcome.steps()[-1]["step"]
    assert states_of(outcome)[f"lora-step{trained:08d}-state"] == trained


def test_under_nohup_a_closed_terminal_changes_nothing() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        StopRequest().install()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    finally:
        faulthandler.unregister(signal.SIGQUIT)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_sigterm_while_the_last_files_are_written_lets_the_writing_finish(settings: Settings) -> None:
    with running(settings) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "finishing")
        trainer.signal_group(signal.SIGTERM)
        outcome = trainer.finish()
    assert outcome.status in (0, 143)
    assert (outcome.status == 0) == outcome.lora.exists()
    assert states_of(outcome)["lora-state"] == 18
    assert_nothing_half(outcome)


@pytest.mark.parametrize("failing_step", [1, 7])
def test_a_step_that_fails_because_of_the_stop_is_abandoned(
    failing_step: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM to a scope also ends a compiler's processes, so a step that waits for them fails."""
    whole = run(settings.plus("", output="whole"))
    assert whole.error is None
    loss_of = batch_loss.loss_of
    micro_steps = 0

    def fails(*arguments: object, **keywords: object) -> torch.Tensor:
        nonlocal micro_steps
        micro_steps += 1
        if micro_steps == failing_step:
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("a process of the pool ended")
        return loss_of(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_loss, "loss_of", fails)
    stopped = run(settings)
    assert (stopped.error, stopped.status) == (None, 143)
    state = settings.output_dir / f"lora-step{failing_step - 1:08d}-state"
    assert state.exists() == (failing_step > 1)
    resumed = run(settings.plus(f"--resume {state}" if state.exists() else ""))
    assert (resumed.error, stopped.steps + resumed.steps) == (None, whole.steps)
    assert_same_lora(settings.folder / "whole" / "lora.safetensors", settings.output_dir / "lora.safetensors")


def test_a_step_that_fails_without_a_stop_is_a_failure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object, **_keywords: object) -> torch.Tensor:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(batch_loss, "loss_of", fails)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run(settings)
    assert list(settings.output_dir.iterdir()) == []
