# SPDX-License-Identifier: Apache-2.0
"""Finds the cause when no loss of a run was finite, not even the first, on which the learning rate has no effect yet.

A complete model file may still hold NaN, as some merged models do. The files are searched only after such a run,
since reading all of them takes as long as loading them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from library.errors import TrainerError
from library.family.port import BaseModel, WeightFile
from library.files import file_kinds, safetensors_file
from library.options.options import Options


class NotFinite(TrainerError):
    """Losses or weights are no longer finite."""


def explained(options: Options, models: BaseModel, *, say: Callable[[str], None]) -> TrainerError:
    """The error to raise for a run without a finite loss, after searching the model files for NaN and infinity."""
    say("no loss was finite: searching the model files for the cause")
    for file in _files(options, models):
        if (key := _first_not_finite(file)) is not None:
            return TrainerError(
                f"--{file.setting}: {file.path} contains NaN or infinity in {key}, so no loss can be computed with "
                f"it; {file_kinds.AGAIN}, or use another file",
                kind="model",
                path=file.path,
            )
    if options.resume:
        return NotFinite(
            f"the loss was not finite from the first step after {options.resume} on, and the model files contain no "
            "NaN: the training had diverged before that state was saved; resume from an earlier state or start over, "
            "with a lower --learning_rate"
        )
    names = models.cache_names
    return TrainerError(
        "no loss was finite, not even in the first step, where the learning rate has no effect yet, and the model "
        f"files contain no NaN: delete the caches beside the pictures (*{names.latents_end}, *{names.text_end}), and "
        "try --mixed_precision bf16 without --fp8_base"
    )


def _files(options: Options, models: BaseModel) -> list[WeightFile]:
    files = models.weight_files()
    if options.network_weights and not options.resume:
        files.append(WeightFile(setting="network_weights", path=options.network_weights))
    return files


def _first_not_finite(file: WeightFile) -> str | None:
    for key, tensor, scale in safetensors_file.stream(file.path, prefix=file.prefix, flag=f"--{file.setting}"):
        parts = (tensor,) if scale is None else (tensor, scale)
        if (file.keys is None or key in file.keys) and not all(map(_is_finite, parts)):
            return key
    return None


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # PyTorch cannot compare fp8 numbers.
    return bool((tensor.float() if tensor.dtype.itemsize == 1 else tensor).isfinite().all())
