# SPDX-License-Identifier: Apache-2.0
"""How a training is computed, where that may change the last bits of a result. Pure.

What was chosen at the start is in each state and is used again (issue 5): a run that goes on with something else is
no longer the undisturbed one, so that takes `--replan`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from library import compilation
from library.errors import TrainerError
from library.options import Options

# More blocks than any model has; `settle` compares with the model's own number.
NUMBERS_OF_BLOCKS = range(10_000)
POSSIBLE: Mapping[str, Collection[object]] = {
    "attention": ("sdpa", "cudnn", "flash", "efficient", "math"),
    "mixed_precision": ("no", "bf16"),
    "base": ("full", "fp8"),
    "checkpointed_blocks": NUMBERS_OF_BLOCKS,
    "blocks_to_swap": NUMBERS_OF_BLOCKS,
    "compile": compilation.POSSIBLE,
    "deterministic": (False, True),
}
"""What this trainer can do, by field."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One value each; the defaults are what nobody asked for otherwise.

    `attention`: which of PyTorch's backends, "sdpa" where PyTorch chooses. `base`: how the frozen transformer's big
    matrices are kept, "full" in the training's type. `checkpointed_blocks`: that many, counted from the first double
    block through the last single one. `blocks_to_swap`: sd-scripts' number (trainers.md 1.2). `compile`: "no", or the
    backend and its mode.
    """

    attention: str = "sdpa"
    mixed_precision: str = "no"
    base: str = "full"
    checkpointed_blocks: int = 0
    blocks_to_swap: int = 0
    compile: str = "no"
    deterministic: bool = False


def asked(options: Options, *, blocks: int) -> dict[str, Any]:
    """What the command line asks for, of a model with so many blocks. A switch that is not given asks for nothing."""
    found: dict[str, Any] = {"mixed_precision": options.mixed_precision}
    if options.fp8_base or options.fp8_base_unet:
        found["base"] = "fp8"
    if options.gradient_checkpointing:
        found["checkpointed_blocks"] = blocks
    if options.deterministic:
        found["deterministic"] = True
    if options.attention != "auto":
        found["attention"] = options.attention
    if (compiled := compilation.asked(options)) is not None:
        found["compile"] = compiled
    return found


def settle(
    wanted: Mapping[str, Any], saved: Mapping[str, Any] | None, *, replan: bool, blocks: int
) -> dict[str, Any]:
    """What is settled before anything chooses itself, by the names of `Choices`: what the state has, and where it has
    nothing (or with `replan`) what is asked for.

    `saved`: of the state that the run goes on from, None for a new run or a state by sd-scripts; a field that a state
    lacks was at its default. Raises TrainerError where a choice of the state cannot be used again, or is not what is
    asked for; but where blocks were not compiled they are not, whatever is asked for: compiling may have failed, and
    the same command line has to go on.
    """
    if saved is None or replan:
        return dict(wanted)
    values = _of_today(saved, blocks)
    for name, value in values.items():
        if not _is_possible(name, value, blocks):
            raise _no_longer_fits(name, value, "which this trainer does not have")
        if name in wanted and wanted[name] != value and not _was_not_compiled(name, value):
            raise _no_longer_fits(name, value, f"and this run asks for {_shown(wanted[name])}")
    return {**_DEFAULTS, **wanted, **values}


def _was_not_compiled(name: str, value: object) -> bool:
    """Whether a state tells this by its choice `name`."""
    return name == "compile" and value == compilation.NO


_DEFAULTS = {name: field.default for name, field in Choices.__dataclass_fields__.items()}


def _of_today(saved: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """A state's choices under today's names: once it was a switch whether all blocks are checkpointed."""
    values = dict(saved)
    if "gradient_checkpointing" in values:
        values["checkpointed_blocks"] = blocks if values.pop("gradient_checkpointing") else 0
    return values


def _is_possible(name: str, value: object, blocks: int) -> bool:
    possible = POSSIBLE.get(name, ())
    if possible is NUMBERS_OF_BLOCKS:
        possible = range(blocks + 1)
    # By type too: JSON's 0, false and 0.0 are the same to Python.
    return any(type(value) is type(choice) and value == choice for choice in possible)


def _no_longer_fits(name: str, value: object, why: str) -> TrainerError:
    return TrainerError(
        f"--resume: the state was made with {name} = {_shown(value)}, {why}; use what it was made with, or add "
        "--replan: the training goes on then, but does not end as it would have without the interruption"
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
