# SPDX-License-Identifier: Apache-2.0
"""Blocks compiled by inductor with the real C++ compiler: gradients, a training that reports its speed, and a stop
during compilation. All tests share one cache, so that each graph is compiled once."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch

from library.compute import compilation
from library.compute.compilation import Compilation
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.sd_scripts.compiler import Compiler
from tests.sd_scripts.flux.random_flux import flux, gradients
from tests.sd_scripts.outcomes import assert_nothing_half, choice_in, states_of
from tests.sd_scripts.running import Outcome, RunningTrainer, Settings, running

# The size of the first batch with seed 1, of 64 and 128 px.
FIRST_SIDE = 128
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inductor")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))


def nobody_is_left(trainer: RunningTrainer) -> bool:
    try:
        os.killpg(trainer.process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def stop_while_it_compiles(settings: Settings, compiler: Compiler, *, after: int) -> Outcome:
    """Sends SIGTERM to the whole group when the run, with `after` steps done, has begun to compile a kernel. Waits
    until all its processes have ended."""
    with running(settings) as trainer:
        trainer.wait_for(lambda line: line["phase"] == "training" and line["step"] >= after)
        before = compiler.kernels()
        until(lambda: compiler.kernels() > before or trainer.process.poll() is not None, what="a compiler")
        trainer.signal_group(signal.SIGTERM)
        trainer.process.wait(timeout=DEADLINE_SECONDS)
        until(lambda: nobody_is_left(trainer), what="the end of the group")
        return trainer.finish()


def assert_stopped_exactly(outcome: Outcome) -> int:
    """Asserts that the run left a state of its completed steps and nothing else. Returns their number."""
    assert outcome.status == 143, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "not compiled" not in outcome.stderr
    assert_nothing_half(outcome)
    trained = max((line["step"] for line in outcome.steps()), default=0)
    assert states_of(outcome) == ({f"lora-step{trained:08d}-state": trained} if trained else {})
    return trained


def test_a_stop_while_the_first_step_compiles_ends_the_run_at_once(settings: Settings, compiler: Compiler) -> None:
    outcome = stop_while_it_compiles(settings.plus("--compile"), compiler, after=0)
    assert assert_stopped_exactly(outcome) <= 1


def at_sizes(settings: Settings, *sides: int) -> Settings:
    """Each picture at each of these sizes, with compiled blocks."""
    datasets = "".join(
        f"[[datasets]]\nresolution = {side}\n[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\n"
        for side in sides
    )
    (settings.folder / "dataset.toml").write_text(f"[general]\ncaption_extension = '.txt'\n{datasets}")
    return settings.plus("--compile --gradient_checkpointing --seed 1")


def test_a_training_with_inductor_reports_its_speed(settings: Settings, compiler: Compiler) -> None:
    before = compiler.kernels()
    with running(at_sizes(settings, FIRST_SIDE)) as trainer:
        trainer.process.wait(timeout=DEADLINE_SECONDS)
        outcome = trainer.finish()
    assert outcome.status == 0, outcome.stderr
    assert "not compiled" not in outcome.stderr
    assert compiler.kernels() > before
    assert list(Path(tempfile.gettempdir()).iterdir()) == [], "compiled headers, which anybody could have put there"
    assert choice_in(outcome.output_dir / "lora-000001-state") == "inductor"
    assert outcome.stdout.count("speed: ") == 2  # steps of the first epoch do not count
    last = outcome.steps()[-1]
    assert last["imagesPerSecond"] > 0
    assert last["peakMemoryBytes"] > 100e6
    assert "mfu" not in last  # a CPU's peak is not known


def test_a_stop_while_a_later_size_compiles_keeps_the_earlier_steps(settings: Settings, compiler: Compiler) -> None:
    """There are two sizes, the first of which the test before has compiled."""
    outcome = stop_while_it_compiles(at_sizes(settings, 64, FIRST_SIDE), compiler, after=1)
    assert assert_stopped_exactly(outcome) >= 1


def test_gradients_of_inductor_are_those_of_the_plain_blocks() -> None:
    """Within 2e-6 of the largest gradient, with and without checkpointing, which share their graphs."""
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
