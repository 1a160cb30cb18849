# SPDX-License-Identifier: Apache-2.0
"""`--deterministic`: the same arithmetic in the same order each time, on a GPU too (issue 5, item 1).

On a CPU nothing changes. On a GPU sums of threads that race (attention's backward pass, split matrix products) are
replaced by slower ones; an operation that has no such form ends the run instead of going on inexactly.
"""

from __future__ import annotations

import os

import torch
import torch.utils.deterministic


def settle(*, deterministic: bool) -> None:
    """To be called before the first work on a GPU: cuBLAS reads its setting then."""
    if deterministic:
        # A fixed workspace, without which cuBLAS may choose another algorithm (docs.nvidia.com/cuda/cublas).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(deterministic)
    # With it PyTorch would fill all memory that is asked for, so that who reads what nobody wrote reads the same each
    # time. Nobody does here, and on a GPU each byte costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
