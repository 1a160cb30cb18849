# SPDX-License-Identifier: Apache-2.0
"""How a training is computed, where that may change the last bits of a result. Pure.

What was chosen at the start is in each state and is used again (issue 5): a run that goes on with something else is
no longer the undisturbed one, so that takes `--replan`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from library.errors import TrainerError
from library.options import Options

POSSIBLE: Mapping[str, tuple[object, ...]] = {
    "attention": ("sdpa",),
    "mixed_precision": ("no", "bf16"),
    "gradient_checkpointing": (False, True),
    "deterministic": (False, True),
}
"""What this trainer can do, by field."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One value each. A field has the name of its flag; the defaults are what nobody asked for otherwise."""

    attention: str = "sdpa"
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    deterministic: bool = False


def asked(options: Options) -> dict[str, Any]:
    """What the command line asks for. A switch that is not given asks for nothing."""
    found: dict[str, Any] = {"mixed_precision": options.mixed_precision}
    for switch in ("gradient_checkpointing", "deterministic"):
        if getattr(options, switch):
            found[switch] = True
    return found


def settle(wanted: Mapping[str, Any], saved: Mapping[str, Any] | None, *, replan: bool) -> Choices:
    """What a run computes with: what the state has, and where it has nothing (or with `replan`) what is asked for.

    `saved`: of the state that the run goes on from, None for a new run or a state by sd-scripts. Raises TrainerError
    where a choice of the state cannot be used again, or is not what is asked for.
    """
    if saved is None or replan:
        return dataclasses.replace(Choices(), **dict(wanted))
    for name, value in saved.items():
        if value not in POSSIBLE.get(name, ()):
            raise _no_longer_fits(name, value, "which this trainer does not have")
        if name in wanted and wanted[name] != value:
            raise _no_longer_fits(name, value, f"and this run asks for {_shown(wanted[name])}")
    return dataclasses.replace(Choices(), **{**wanted, **saved})


def _no_longer_fits(name: str, value: object, why: str) -> TrainerError:
    return TrainerError(
        f"--resume: the state was made with {name} = {_shown(value)}, {why}; use what it was made with, or add "
        "--replan: the training goes on then, but does not end as it would have without the interruption"
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
