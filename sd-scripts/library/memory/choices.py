# SPDX-License-Identifier: Apache-2.0
"""The choices of how to compute a training that may change the last bits of its result. Pure.

Each state records the choices made at the start, and a resumed run uses them again (issue 5). With other choices it
would not end as an undisturbed run does, so that requires `--replan`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from library.compute import compile_choice
from library.errors import Misfit, TrainerError
from library.options.options import Options

# More blocks than any model has; `_is_possible` compares with the model's own number.
NUMBERS_OF_BLOCKS = range(10_000)
POSSIBLE: Mapping[str, Collection[object]] = {
    "attention": ("sdpa", "cudnn", "flash", "efficient", "math"),
    "mixed_precision": ("no", "bf16"),
    "base": ("full", "fp8"),
    "checkpointed_blocks": NUMBERS_OF_BLOCKS,
    "blocks_to_swap": NUMBERS_OF_BLOCKS,
    "compile": compile_choice.POSSIBLE,
    "deterministic": (False, True),
}
"""The values that this trainer supports, by field of `Choices`."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The choices of one training.

    `attention`: one of PyTorch's kernels, or "sdpa" if PyTorch chooses. `base`: the type of the frozen transformer's
    large matrices, where "full" is the training's type. `checkpointed_blocks`: how many blocks are checkpointed,
    counted from the first double block through the last single one. `blocks_to_swap`: as in sd-scripts
    (`swap_order`). `compile`: "no", or backend and mode (`compile_choice.Compilation`).
    """

    attention: str = "sdpa"
    mixed_precision: str = "no"
    base: str = "full"
    checkpointed_blocks: int = 0
    blocks_to_swap: int = 0
    compile: str = "no"
    deterministic: bool = False


def asked(options: Options, *, blocks: int) -> dict[str, Any]:
    """The choices that the command line asks for. A switch that is not given asks for nothing. `blocks`: how many the
    model has."""
    found: dict[str, Any] = {"mixed_precision": options.mixed_precision}
    if options.fp8_base or options.fp8_base_unet:
        found["base"] = "fp8"
    if options.gradient_checkpointing:
        found["checkpointed_blocks"] = blocks
    if options.deterministic:
        found["deterministic"] = True
    if options.attention != "auto":
        found["attention"] = options.attention
    if (compiled := compile_choice.asked(options)) is not None:
        found["compile"] = compiled
    return found


def settle(
    wanted: Mapping[str, Any], saved: Mapping[str, Any] | None, *, replan: bool, blocks: int
) -> dict[str, Any]:
    """The choices, by field of `Choices`, that are fixed before the trainer makes the others automatically.

    `saved`: the choices of the state that the run resumes from; None for a new run or a state by sd-scripts. Without
    `saved`, or with `replan`, the result is `wanted`. Otherwise it is `saved`, completed by `wanted` and then by the
    defaults.

    Raises TrainerError if a saved choice is not supported or contradicts `wanted`. One contradiction is allowed:
    blocks that were not compiled stay uncompiled whatever `wanted` says, because compiling may have failed, and the
    same command line has to continue.
    """
    if saved is None or replan:
        return dict(wanted)
    values = _of_today(saved, blocks)
    for name, value in values.items():
        if not _is_possible(name, value, blocks):
            raise _no_longer_fits(name, value, "which this trainer does not support")
        if name in wanted and wanted[name] != value and not _was_not_compiled(name, value):
            raise _no_longer_fits(name, value, f"but this run asks for {_shown(wanted[name])}")
    return {**_DEFAULTS, **wanted, **values}


def _was_not_compiled(name: str, value: object) -> bool:
    """Whether this saved choice says that the blocks were not compiled."""
    return name == "compile" and value == compile_choice.NO


_DEFAULTS = {name: field.default for name, field in Choices.__dataclass_fields__.items()}


def _of_today(saved: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """A state's choices under today's names. Older states have a switch for checkpointing all blocks."""
    values = dict(saved)
    if "gradient_checkpointing" in values:
        values["checkpointed_blocks"] = blocks if values.pop("gradient_checkpointing") else 0
    return values


def _is_possible(name: str, value: object, blocks: int) -> bool:
    possible = POSSIBLE.get(name, ())
    if possible is NUMBERS_OF_BLOCKS:
        possible = range(blocks + 1)
    # Types are compared too, since to Python JSON's 0, false and 0.0 are equal.
    return any(type(value) is type(choice) and value == choice for choice in possible)


def _no_longer_fits(name: str, value: object, why: str) -> TrainerError:
    return Misfit(
        f"--resume: the state was made with {name} = {_shown(value)}, {why}; use the settings it was made with, or "
        "add --replan: the training then continues, but its result differs from that of an uninterrupted run"
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
