# SPDX-License-Identifier: Apache-2.0
"""Optimizers without torch.compile's marks: torch._dynamo is not imported, and the steps stay the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.optim.optimizer import _use_grad_for_differentiable

from library.optim import uncompiled
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.running import PROGRAM

BUILT_AND_USED = """
import sys, torch
from library.optim import uncompiled
kind = getattr(torch.optim, sys.argv[1])
if sys.argv[2] == "unmarked":
    uncompiled.unmark(kind)
parameter = torch.nn.Parameter(torch.ones(2, 2))
optimizer = kind([parameter], lr=0.1)
for gradient in (0.5, -2.0):
    parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules, parameter.grad, parameter.tolist())
"""


def said(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BUILT_AND_USED, *words],
        cwd=PROGRAM.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    return done.stdout


def test_an_optimizer_that_inherits_its_step_takes_the_same_steps_without_torch_dynamo() -> None:
    marked, unmarked = said("AdamW", "marked"), said("AdamW", "unmarked")
    assert marked.startswith("True None")
    assert unmarked == marked.replace("True", "False")


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_step_has_gradients_only_if_the_optimizer_is_differentiable(differentiable: bool) -> None:
    class Asked(torch.optim.SGD):
        def step(self) -> None:  # type: ignore[override]
            seen.append(torch.is_grad_enabled())

    seen: list[bool] = []
    Asked.step = _use_grad_for_differentiable(Asked.step)  # type: ignore[method-assign]
    marked = Asked.step
    uncompiled.unmark(Asked)
    assert Asked.step is not marked
    Asked([torch.nn.Parameter(torch.ones(1))], differentiable=differentiable).step()
    assert seen == [differentiable]
    assert torch.is_grad_enabled()
