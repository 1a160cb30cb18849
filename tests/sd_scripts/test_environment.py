# SPDX-License-Identifier: Apache-2.0
"""Environment variables that are empty or not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from library import environment, gpu
from library.train import preflight


def test_empty_variables_count_as_unset_but_for_those_that_hide_gpus() -> None:
    environ = {"HOME": "", "TORCHINDUCTOR_COMPILE_THREADS": "", "CUDA_VISIBLE_DEVICES": "", "LANG": "C"}
    environment.drop_empty(environ)
    assert environ == {"CUDA_VISIBLE_DEVICES": "", "LANG": "C"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *((value, False) for value in (None, "False", "false", "0", "")),
        *((value, True) for value in ("True", "true", "1", "yes")),
    ],
)
def test_accelerate_s_launcher_always_says_whether_the_cpu_is_wanted(
    value: str | None, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if value is not None:
        monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    assert environment.wants_cpu() is wanted
    # On a machine with a GPU.
    monkeypatch.setattr(gpu, "DRIVERS", ("/",))
    assert gpu.is_there() is not wanted
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert preflight._on_gpu() is not wanted


def test_the_user_s_cache_is_an_absolute_path_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert environment.user_cache() == Path("/home/somebody/.cache/fluxgym")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert environment.user_cache() == Path("/elsewhere/fluxgym")
