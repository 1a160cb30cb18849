# SPDX-License-Identifier: Apache-2.0
"""The transformer's blocks, compiled by PyTorch: one graph for each kind of block and size of batch, whatever the
depth, with the weights as inputs.

A graph is a function of the batch's size alone, never of the sizes that came before, so a resumed run computes each
step with the same graph as the undisturbed one. That is why sizes are not made symbolic by default, as PyTorch does
when a second one comes. Only the training is compiled: samples and validations, which come in sizes of their own and
are few, go through the blocks as they are.

Graphs are compiled in this process. PyTorch's pool of workers would die of a SIGTERM to the whole scope, and after a
SIGKILL of the trainer could outlive it by up to a minute (torch/_inductor/compile_worker/utils.py).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import torch
from torch import nn

from library.flux_model import Flux
from library.options import COMPILE_BACKENDS, COMPILE_MODES, Options

NO = "no"
DEFAULT_MODE = COMPILE_MODES[0]
SYMBOLIC = "symbolic"
# A size takes about half a minute to compile on a big GPU, and saves 50 to 150 ms a step (trainers.md 5).
STEPS_THAT_PAY = 200
# Every graph is of a size and a kind of block, so their number has an end; PyTorch's limits (8 for a function, 256 in
# all) are for programs in which it has none.
MOST_GRAPHS = 4096


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """What is compiled with. `symbolic`: one graph for all sizes."""

    backend: str = "inductor"
    mode: str = DEFAULT_MODE
    symbolic: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """The inverse of `str`."""
        backend, *rest = text.split(":")
        symbolic = SYMBOLIC in rest
        mode = next((word for word in rest if word != SYMBOLIC), DEFAULT_MODE)
        return cls(backend=backend, mode=mode, symbolic=symbolic)

    def __str__(self) -> str:
        """As a state records it: `inductor`, `inductor:max-autotune`, `aot_eager:symbolic`."""
        words = [self.backend]
        words += [self.mode] if self.mode != DEFAULT_MODE else []
        words += [SYMBOLIC] if self.symbolic else []
        return ":".join(words)


POSSIBLE = (
    NO,
    *(
        str(Compilation(backend=backend, mode=mode, symbolic=symbolic))
        for backend, mode, symbolic in product(COMPILE_BACKENDS, COMPILE_MODES, (False, True))
    ),
)
"""All that a state may record."""


def asked(options: Options) -> str | None:
    """What the command line asks for, as a state records it; None where it asks for nothing."""
    if options.no_compile:
        return NO
    if not options.compile and not options.torch_compile:
        return None
    backend = options.compile_backend if options.compile else options.dynamo_backend
    symbolic = options.compile_dynamic == "true"
    return str(Compilation(backend=backend, mode=options.compile_mode, symbolic=symbolic))


def choose(*, gpu: bool, steps: int, sizes: int) -> str:
    """What is compiled with where nobody asks: on a GPU, if the steps still to do pay for each of the batches'
    sizes. On a CPU compiling takes minutes, and it saves a quarter of a step."""
    return str(Compilation()) if gpu and steps >= STEPS_THAT_PAY * sizes else NO


def compile_blocks(
    transformer: Flux, compilation: Compilation, *, most_graphs: int | None, deterministic: bool
) -> None:
    """From now on each block's forward pass is compiled when it first meets a size; a block's hooks stay outside.

    Raises nothing here: what cannot be compiled is told by the forward pass.
    """
    _prepare(most_graphs=most_graphs or MOST_GRAPHS, deterministic=deterministic)
    compiled: dict[type, Callable[..., Any]] = {}
    for block in _blocks(transformer):
        kind = type(block)
        if kind not in compiled:
            compiled[kind] = torch.compile(
                kind.forward,
                fullgraph=True,
                dynamic=compilation.symbolic,
                backend=compilation.backend,
                # Of inductor alone; other backends take none.
                mode=compilation.mode if compilation.backend == "inductor" else None,
            )
        block.forward = functools.partial(_forward, block, compiled[kind])


def use_plain_blocks(transformer: Flux) -> None:
    """Takes `compile_blocks` back."""
    for block in _blocks(transformer):
        block.__dict__.pop("forward", None)


def begin_micro_step(compilation: Compilation) -> None:
    """Tells CUDA graphs, which two of the modes use, that nothing of the last micro-step is needed any more."""
    if compilation.mode in ("reduce-overhead", "max-autotune"):
        torch.compiler.cudagraph_mark_step_begin()


def _blocks(transformer: Flux) -> Iterator[nn.Module]:
    yield from transformer.double_blocks
    yield from transformer.single_blocks


def _forward(block: nn.Module, compiled: Callable[..., Any], *inputs: torch.Tensor) -> Any:
    if torch.is_grad_enabled():
        return compiled(block, *inputs)
    return type(block).forward(block, *inputs)


def _prepare(*, most_graphs: int, deterministic: bool) -> None:
    import torch._dynamo.config as dynamo
    import torch._functorch.config as functorch
    import torch._inductor.config as inductor

    dynamo.recompile_limit = most_graphs
    dynamo.accumulated_recompile_limit = max(most_graphs, MOST_GRAPHS)
    # Otherwise a backward pass is compiled when it first runs: too late to go on without, since gradients are there.
    functorch.force_non_lazy_backward_lowering = True
    # Otherwise kernels are chosen by their time on this machine, and sum up in the order that is fastest today.
    inductor.deterministic = deterministic
    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        inductor.compile_threads = 1
