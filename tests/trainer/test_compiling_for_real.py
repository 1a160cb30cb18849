# SPDX-License-Identifier: Apache-2.0
"""Blocks compiled by inductor with the real C++ compiler: gradients, a training with what it tells of its speed, and
a stop that meets the compiler at work. One cache serves all, so that a graph is compiled once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from library import compilation
from library.compilation import Compilation
from tests.harness.waiting import until
from tests.trainer.running import Outcome, RunningTrainer, Settings, running
from tests.trainer.test_compilation import choice_in, flux, gradients
from tests.trainer.test_signals import assert_nothing_half, states_of

# Of a real compiler on a machine that does other things too.
DEADLINE_SECONDS = 600
# The size of the first batch of 64 and 128 px with seed 1.
FIRST_SIDE = 128
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a compiler that tells when it begins."""
    made = tmp_path_factory.mktemp("inductor")
    compiler = made / "g++"
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *.cpp*) echo >> "{made}/begun" ;; esac\nexec /usr/bin/g++ "$@"\n')
    compiler.chmod(0o755)
    return made


@pytest.fixture(autouse=True)
def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("CXX", str(folder / "g++"))


def times_compiled(folder: Path) -> int:
    begun = folder / "begun"
    return begun.read_text().count("\n") if begun.exists() else 0


def nobody_is_left(trainer: RunningTrainer) -> bool:
    try:
        os.killpg(trainer.process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def stop_while_it_compiles(settings: Settings, folder: Path, *, after: int) -> Outcome:
    """SIGTERM to the whole group when, with `after` steps done, a compiler has begun; all its processes end."""
    with running(settings) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "training" and line["step"] >= after)
        before = times_compiled(folder)
        until(
            lambda: times_compiled(folder) > before or trainer.process.poll() is not None,
            what="a compiler",
            deadline_seconds=DEADLINE_SECONDS,
        )
        trainer.signal_group(signal.SIGTERM)
        trainer.process.wait(timeout=DEADLINE_SECONDS)
        until(lambda: nobody_is_left(trainer), what="the end of the group", deadline_seconds=DEADLINE_SECONDS)
        return trainer.finish()


def assert_stopped_exactly(outcome: Outcome) -> int:
    """A state of the steps that were done, and nothing else. How many those are."""
    assert outcome.status == 143, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "not compiled" not in outcome.stderr
    assert_nothing_half(outcome)
    trained = max((line["step"] for line in outcome.steps()), default=0)
    assert states_of(outcome) == ({f"lora-step{trained:08d}-state": trained} if trained else {})
    return trained


def test_a_stop_while_the_first_step_compiles_leaves_at_once(settings: Settings, folder: Path) -> None:
    outcome = stop_while_it_compiles(settings.plus("--compile"), folder, after=0)
    assert assert_stopped_exactly(outcome) <= 1


def at_sizes(settings: Settings, *sides: int) -> Settings:
    """Each picture at each of these sizes, compiled."""
    datasets = "".join(
        f"[[datasets]]\nresolution = {side}\n[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\n"
        for side in sides
    )
    (settings.folder / "dataset.toml").write_text(f"[general]\ncaption_extension = '.txt'\n{datasets}")
    return settings.plus("--compile --gradient_checkpointing --seed 1")


def test_a_training_with_inductor_tells_its_speed(settings: Settings, folder: Path) -> None:
    with running(at_sizes(settings, FIRST_SIDE)) as trainer:
        trainer.process.wait(timeout=DEADLINE_SECONDS)
        outcome = trainer.finish()
    assert outcome.status == 0, outcome.stderr
    assert "not compiled" not in outcome.stderr
    assert times_compiled(folder) > 0
    assert choice_in(outcome.output_dir / "lora-000001-state") == "inductor"
    assert outcome.stdout.count("speed: ") == 2  # no step of the first epoch counts
    last = outcome.steps()[-1]
    assert last["imagesPerSecond"] > 0
    assert last["peakMemoryBytes"] > 100e6
    assert "mfu" not in last  # a CPU's peak is not known


def test_a_stop_while_a_later_size_compiles_keeps_the_steps_before(settings: Settings, folder: Path) -> None:
    """Two sizes, the first of which the training before has compiled."""
    outcome = stop_while_it_compiles(at_sizes(settings, 64, FIRST_SIDE), folder, after=1)
    assert assert_stopped_exactly(outcome) >= 1


def test_gradients_of_inductor_are_those_of_the_plain_blocks() -> None:
    """Within 2e-6 of the greatest, with and without checkpointing, which share their graphs."""
    torch._dynamo.reset()
    transformer, network = flux(double=1, single=1)
    plain = gradients(transformer, network, height=4, width=4)
    greatest = max(float(gradient.abs().max()) for gradient in plain)
    compilation.compile_blocks(transformer, Compilation(), most_graphs=None, deterministic=True)
    for checkpointed in (0, 2):
        transformer.checkpointed_blocks = checkpointed
        compiled = gradients(transformer, network, height=4, width=4)
        worst = max(float((one - other).abs().max()) for one, other in zip(plain, compiled, strict=True))
        assert worst <= 2e-6 * greatest
    torch._dynamo.reset()
