# SPDX-License-Identifier: Apache-2.0
"""Keeps torch's optimizers from importing torch._dynamo, which takes a second.

They import it when they are built and in each step, to mark where torch.compile must not trace them. The trainer
compiles blocks of the transformer and no optimizer, so the marks have no effect. If a later torch makes them
differently, nothing is changed, and the import costs its second again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""The methods of all optimizers that `torch._disable_dynamo` marks."""


def unmark(kind: type) -> None:
    """Takes the marks from the methods of all optimizers, and from the step of this class."""
    for name in MARKED:
        if (method := _behind(vars(Optimizer)[name], mark="inner", module="torch._compile")) is not None:
            setattr(Optimizer, name, method)
    owner = next(owner for owner in kind.__mro__ if "step" in vars(owner))
    step = _behind(vars(owner)["step"], mark="_use_grad", module="torch.optim.optimizer")
    if step is not None:
        owner.step = _with_gradients_as_set(step)  # type: ignore[attr-defined]


def _with_gradients_as_set(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step without gradients, unless the optimizer is differentiable, as torch's mark runs it."""

    @functools.wraps(step)
    def run(optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(optimizer.defaults["differentiable"]):
            return step(optimizer, *args, **kwargs)

    return run


def _behind(function: Any, *, mark: str, module: str) -> Any:
    """The function behind a mark, which is a function of this name in this module of torch; None without one."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_name != mark or getattr(function, "__globals__", {}).get("__name__") != module:
        return None
    return getattr(function, "__wrapped__", None)
