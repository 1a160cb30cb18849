# SPDX-License-Identifier: Apache-2.0
"""Compiled blocks: how many graphs there are, that results equal those of plain blocks, and what happens where
nothing can be compiled. test_compiling_for_real.py tests the real compiler, which is slow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch._dynamo
import torch._functorch.config
from functorch.compile import nop
from torch._dynamo.backends import registry
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend

from library.compute import compilation, compile_choice
from library.compute.compile_choice import Compilation
from library.flux.model import Flux
from library.options.arguments import parse
from tests.sd_scripts.flux.random_flux import flux, gradients, output_of
from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import assert_same_lora, choice_in
from tests.sd_scripts.running import Settings

# PyTorch itself causes this warning when it inspects a block's inputs. It hides the warning from users, but pytest
# would make an error of it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(autouse=True)
def _no_graphs_of_others() -> Iterator[None]:
    torch._dynamo.reset()
    with (
        torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=256),
        torch._functorch.config.patch(force_non_lazy_backward_lowering=False),
    ):
        yield
    torch._dynamo.reset()


def counted(transformer: Flux, *, symbolic: bool = False) -> CompileCounterWithBackend:
    """Compiles the blocks with a backend that counts its graphs."""
    counter = CompileCounterWithBackend("aot_eager")
    compilation.compile_blocks(
        transformer, Compilation(backend=counter, symbolic=symbolic), most_graphs=None, deterministic=False
    )
    return counter


@pytest.mark.parametrize(("double", "single", "graphs"), [(1, 1, 2), (2, 2, 3), (4, 7, 3)])
def test_graphs_do_not_grow_with_the_depth(double: int, single: int, graphs: int) -> None:
    """One for each kind of block, and one for the first block, whose inputs need no gradient."""
    transformer, network = flux(double=double, single=single)
    counter = counted(transformer)
    gradients(transformer, network, height=4, width=4)
    gradients(transformer, network, height=4, width=4)
    assert counter.frame_count == graphs


def test_there_is_a_graph_for_each_size_and_none_for_samples() -> None:
    """There are more sizes than PyTorch's default limit of 8. Sizes with equally many tokens share a graph."""
    transformer, network = flux(double=1, single=1)
    counter = counted(transformer)
    for height in range(2, 11):
        gradients(transformer, network, height=height, width=4)
    assert counter.frame_count == 9 * 2
    gradients(transformer, network, height=4, width=2)
    assert counter.frame_count == 9 * 2
    with torch.no_grad():
        output_of(transformer, height=3, width=3)
    assert counter.frame_count == 9 * 2


def test_symbolic_sizes_share_a_graph() -> None:
    transformer, network = flux(double=2, single=2)
    counter = counted(transformer, symbolic=True)
    for height in (3, 4, 5, 6):
        gradients(transformer, network, height=height, width=4)
    assert counter.frame_count < 2 * 3


@pytest.mark.parametrize(("checkpointed", "dropout"), [(0, 0.3), (2, 0.0), (2, 0.3), (4, 0.3)])
def test_gradients_are_those_of_the_plain_blocks_bit_for_bit(checkpointed: int, dropout: float) -> None:
    transformer, network = flux(double=2, single=2, dropout=dropout)
    transformer.checkpointed_blocks = checkpointed
    sizes = ({"height": 4, "width": 4}, {"height": 3, "width": 5, "batch": 2})
    plain = [gradients(transformer, network, **size) for size in sizes]
    counter = counted(transformer)
    compiled = [gradients(transformer, network, **size) for size in sizes]
    assert counter.frame_count == 6
    for ours, theirs in zip(plain, compiled, strict=True):
        assert len(ours) == len(theirs) > 0
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    compilation.use_plain_blocks(transformer)
    gradients(transformer, network, height=7, width=7)
    assert counter.frame_count == 6


@pytest.mark.parametrize("text", compile_choice.POSSIBLE)
def test_the_choice_that_a_state_records_is_read_back(text: str) -> None:
    if text != compile_choice.NO:
        assert str(Compilation.read(text)) == text


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", None),
        ("--no_compile", "no"),
        ("--compile", "inductor"),
        ("--torch_compile", "inductor"),
        ("--torch_compile --dynamo_backend aot_eager", "aot_eager"),
        ("--compile --compile_mode max-autotune-no-cudagraphs", "inductor:max-autotune-no-cudagraphs"),
        ("--compile --compile_backend aot_eager --compile_dynamic true", "aot_eager:symbolic"),
        ("--compile --compile_dynamic auto --compile_fullgraph", "inductor"),
    ],
)
def test_the_command_line_decides_what_is_compiled(words: str, asked: str | None, settings: Settings) -> None:
    assert compile_choice.asked(parse(settings.plus(words).arguments())) == asked


def test_compile_and_no_compile_cannot_both_hold(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(settings.plus("--compile --no_compile").arguments())
    assert "--no_compile contradicts --compile" in capsys.readouterr().err


def test_it_is_chosen_if_it_pays_off() -> None:
    assert compile_choice.choose(gpu=False, steps=100_000, sizes=1) == "no"
    assert compile_choice.choose(gpu=True, steps=199, sizes=1) == "no"
    assert compile_choice.choose(gpu=True, steps=200, sizes=1) == "inductor"
    assert compile_choice.choose(gpu=True, steps=1600, sizes=9) == "no"


def test_a_training_with_compiled_blocks_continues_with_them(settings: Settings) -> None:
    compiled = settings.plus("--compile --compile_backend aot_eager --gradient_checkpointing")
    whole = dataclasses.replace(compiled, output="whole")
    assert run(whole).error is None
    assert run(compiled, stop_after=8).status == 143
    state = compiled.output_dir / "lora-step00000008-state"
    assert choice_in(state) == "aot_eager"
    refused = run(settings.plus(f"--no_compile --gradient_checkpointing --resume {state}", output="refused"))
    assert "compile = aot_eager, but this run asks for no" in str(refused.error)
    resumed = settings.plus(f"--resume {state}", output="resumed")
    assert run(resumed).error is None
    assert choice_in(resumed.output_dir / "lora-000002-state") == "aot_eager"
    assert_same_lora(whole.output_dir / "lora.safetensors", resumed.output_dir / "lora.safetensors")


def test_without_a_compiler_the_training_continues_uncompiled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Inductor has no C++ compiler here, as on a bare pod."""
    plain = settings.plus("", output="plain")
    assert run(plain).error is None
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.cxx": (str(tmp_path / "no-compiler"),)}):
        without = settings.plus("--compile", output="without")
        assert run(without).error is None
        assert capfd.readouterr().err.count("warning: the blocks are not compiled, because compiling failed: ") == 1
        assert choice_in(without.output_dir / "lora-000001-state") == "no"
        assert_same_lora(plain.output_dir / "lora.safetensors", without.output_dir / "lora.safetensors")
        state = without.output_dir / "lora-000001-state"
        again = settings.plus(f"--compile --resume {state}", output="again")
        assert run(again).error is None
        assert "warning: --compile is ignored: the state was made with blocks that are not" in capfd.readouterr().err
        assert choice_in(again.output_dir / "lora-000002-state") == "no"
        assert_same_lora(plain.output_dir / "lora.safetensors", again.output_dir / "lora.safetensors")
        told = json.loads((state / "train_state.json").read_text())
        told["choices"]["compile"] = "inductor"
        (state / "train_state.json").write_text(json.dumps(told))
        refused = run(settings.plus(f"--resume {state}", output="refused"))
        assert "the state was made with compile = inductor, which fails here" in str(refused.error)
        assert run(settings.plus(f"--resume {state} --replan", output="replanned")).error is None


def test_if_only_backward_passes_cannot_be_compiled_the_training_continues_uncompiled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As with a kernel that needs more shared memory than a small GPU has. By default PyTorch compiles backward
    graphs when a backward pass first runs, when gradients of earlier micro-steps may already exist."""
    plain = settings.plus("--gradient_accumulation_steps 2", output="plain")
    assert run(plain).error is None

    def fail(*_: object) -> Callable[..., object]:
        raise RuntimeError("out of resource: shared memory")

    backend = aot_autograd(fw_compiler=nop, bw_compiler=fail)
    monkeypatch.setitem(registry._COMPILER_FNS, "aot_eager", backend)
    without = settings.plus("--gradient_accumulation_steps 2 --compile --compile_backend aot_eager", output="without")
    assert run(without).error is None
    told = capfd.readouterr().err
    assert told.count("warning: the blocks are not compiled, because compiling failed: ") == 1
    assert "out of resource: shared memory" in told
    assert choice_in(without.output_dir / "lora-000001-state") == "no"
    assert_same_lora(plain.output_dir / "lora.safetensors", without.output_dir / "lora.safetensors")


def test_more_graphs_than_the_limit_are_not_compiled(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """Batches of four and of two pictures need a graph each."""
    limited = settings.plus("--compile --compile_backend aot_eager --compile_cache_size_limit 1 --train_batch_size 4")
    assert run(limited).error is None
    assert capfd.readouterr().err.count("warning: the blocks are not compiled") == 1
    assert choice_in(limited.output_dir / "lora-000001-state") == "no"
