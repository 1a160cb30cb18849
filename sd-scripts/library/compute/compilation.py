# SPDX-License-Identifier: Apache-2.0
"""Compiles the transformer's blocks with PyTorch: one graph for each kind of block and size of batch, whatever the
depth, with the weights as inputs.

A graph depends only on the batch's size, never on the sizes that came before, so a resumed run computes each step
with the same graph as an undisturbed one. For this reason sizes are not symbolic by default, whereas PyTorch would
make them so at the second size. Only the training is compiled: samples and validations have other sizes and are few,
so they use the uncompiled blocks.

Graphs are compiled in this process. PyTorch's worker pool would be ended by a SIGTERM to the scope, and after a
SIGKILL of the trainer it could outlive it by up to a minute (torch/_inductor/compile_worker/utils.py).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from library.compute.compile_choice import Compilation
from library.compute.transformer import Transformer

# There is one graph for each size and kind of block, so their number is bounded. PyTorch's limits (8 for a function,
# 256 in all) are meant for programs where it is not.
MOST_GRAPHS = 4096


def compile_blocks(
    transformer: Transformer, compilation: Compilation, *, most_graphs: int | None, deterministic: bool
) -> None:
    """Makes each block's forward pass compile itself when it first meets a size. A block's hooks stay outside.

    Nothing is compiled here, so errors of the compiler come from the forward pass.
    """
    _prepare(most_graphs=most_graphs or MOST_GRAPHS, deterministic=deterministic)
    compiled: dict[type, Callable[..., Any]] = {}
    for block in transformer.blocks:
        kind = type(block)
        if kind not in compiled:
            compiled[kind] = torch.compile(
                kind.forward,
                fullgraph=True,
                dynamic=compilation.symbolic,
                backend=compilation.backend,
                # Only inductor has modes.
                mode=compilation.mode if compilation.backend == "inductor" else None,
            )
        block.forward = functools.partial(_forward, block, compiled[kind])


def use_plain_blocks(transformer: Transformer) -> None:
    """Undoes `compile_blocks`."""
    for block in transformer.blocks:
        block.__dict__.pop("forward", None)


def begin_micro_step(compilation: Compilation) -> None:
    """Tells CUDA graphs, which two of the modes use, that the last micro-step's outputs are no longer needed."""
    if compilation.mode in ("reduce-overhead", "max-autotune"):
        torch.compiler.cudagraph_mark_step_begin()


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
    # Otherwise a backward pass is compiled when it first runs. That is too late to continue without compiling, since
    # there are gradients by then.
    functorch.force_non_lazy_backward_lowering = True
    # Otherwise kernels are chosen by timing them on this machine, so the order of their sums could vary between runs.
    inductor.deterministic = deterministic
    # Wherever the cache is (compile_cache.py), PyTorch puts precompiled headers into the temporary directory, under a
    # name that any user can take first, and the compiler trusts their content.
    inductor.cpp_cache_precompile_headers = False
    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        inductor.compile_threads = 1
