# SPDX-License-Identifier: Apache-2.0
"""Finds the cause when no loss of a run was finite, not even the first, on which the learning rate has no effect yet.

A complete model file may still hold NaN, as some merged models do. The files are searched only after such a run,
since reading all of them takes as long as loading them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from torch import Tensor

from library.errors import TrainerError
from library.files import file_kinds, safetensors_file
from library.flux.config import SINGLE_FILE_PREFIX
from library.flux.model_files import ModelFiles
from library.options.options import Options


class NotFinite(TrainerError):
    """Losses or weights are no longer finite."""


def explained(options: Options, models: ModelFiles, *, say: Callable[[str], None]) -> TrainerError:
    """The error to raise for a run without a finite loss, after searching the model files for NaN and infinity."""
    say("no loss was finite: searching the model files for the cause")
    for flag, path, prefix, keys in _files(options, models):
        if (key := _first_not_finite(path, flag=f"--{flag}", prefix=prefix, keys=keys)) is not None:
            return TrainerError(
                f"--{flag}: {path} contains NaN or infinity in {key}, so no loss can be computed with it; "
                f"{file_kinds.AGAIN}, or use another file",
                kind="model",
                path=path,
            )
    if options.resume:
        return NotFinite(
            f"the loss was not finite from the first step after {options.resume} on, and the model files contain no "
            "NaN: the training had diverged before that state was saved; resume from an earlier state or start over, "
            "with a lower --learning_rate"
        )
    return TrainerError(
        "no loss was finite, not even in the first step, where the learning rate has no effect yet, and the model "
        "files contain no NaN: delete the caches beside the pictures (*_flux.npz, *_flux_te.npz), and try "
        "--mixed_precision bf16 without --fp8_base"
    )


def _files(options: Options, models: ModelFiles) -> list[tuple[str, Path, str, Collection[str] | None]]:
    """(flag, path, prefix of the part that is used, keys that are used; None: all) of each model."""
    files: list[tuple[str, Path, str, Collection[str] | None]] = [
        ("pretrained_model_name_or_path", options.pretrained_model_name_or_path, SINGLE_FILE_PREFIX, None),
        ("clip_l", options.clip_l, "", models.clip.shapes),
        ("t5xxl", options.t5xxl, "", models.t5.shapes),
        ("ae", options.ae, "", None),
    ]
    if options.network_weights and not options.resume:
        files.append(("network_weights", options.network_weights, "", None))
    return files


def _first_not_finite(path: Path, *, flag: str, prefix: str, keys: Collection[str] | None) -> str | None:
    for key, tensor, scale in safetensors_file.stream(path, prefix=prefix, flag=flag):
        parts = (tensor,) if scale is None else (tensor, scale)
        if (keys is None or key in keys) and not all(map(_is_finite, parts)):
            return key
    return None


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # PyTorch cannot compare fp8 numbers.
    return bool((tensor.float() if tensor.dtype.itemsize == 1 else tensor).isfinite().all())
