# SPDX-License-Identifier: Apache-2.0
"""No step makes the program wait for the GPU: PyTorch raises an error where one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from library.stepper import Stepper
from tests.trainer.in_process import run
from tests.trainer.running import Settings


@pytest.mark.parametrize("compiled", ["--no_compile", "--compile"])
@pytest.mark.parametrize("checkpointed", ["", "--gradient_checkpointing"])
def test_steps_do_not_wait(
    compiled: str, checkpointed: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second step on: the first compiles, and fills the caches of the allocators."""
    watched = 0
    for name in ("micro_step", "finish"):
        method = getattr(Stepper, name)

        def strict(stepper: Stepper, *arguments: Any, _method: Any = method, **keywords: Any) -> Any:
            nonlocal watched
            watched += 1
            torch.cuda.set_sync_debug_mode("error" if watched > 4 else "default")
            try:
                return _method(stepper, *arguments, **keywords)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(Stepper, name, strict)
    outcome = run(settings.plus(f"--mixed_precision bf16 --network_train_unet_only {compiled} {checkpointed}"))
    assert outcome.error is None
    assert watched == 2 * len(outcome.steps) > 4
