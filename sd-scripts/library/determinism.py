# SPDX-License-Identifier: Apache-2.0
"""`--deterministic`: the same arithmetic in the same order each time, on a GPU too (issue 5, item 1).

On a CPU nothing changes. On a GPU, sums whose order depends on racing threads (attention's backward pass, split
matrix products) are replaced by slower ones. An operation without a deterministic form ends the run.
"""

from __future__ import annotations

import os

import torch
import torch.utils.deterministic


def settle(*, deterministic: bool) -> None:
    """Applies the flag. Call this before the first work on a GPU, which is when cuBLAS reads its setting."""
    if deterministic:
        # A fixed workspace; without it cuBLAS may choose another algorithm (docs.nvidia.com/cuda/cublas).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    # torch.use_deterministic_algorithms does the same, but imports all of torch's compiler, which takes a second at
    # each start. If blocks are compiled, compilation.py configures the compiler.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Otherwise, in deterministic mode, PyTorch fills all memory that it allocates, so that reads of uninitialised
    # memory are deterministic too. Nothing here makes such reads, and filling takes time on a GPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
