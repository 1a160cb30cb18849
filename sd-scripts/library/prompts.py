# SPDX-License-Identifier: Apache-2.0
"""Prompt files: one prompt a line with ` --w 512 --h 512 --d SEED --s STEPS --g GUIDANCE --l CFG --n NEGATIVE`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from library.errors import TrainerError

SIDE_STEP, SMALLEST_SIDE = 16, 64


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One sample to make. Sizes are multiples of 16 from 64 on; `seed` None lets the trainer choose."""

    text: str
    width: int = 512
    height: int = 512
    seed: int | None = None
    steps: int = 20
    guidance: float = 3.5
    cfg: float = 1.0
    negative: str = ""


def read(path: Path) -> list[Prompt]:
    """The prompts of a .txt file; empty lines and `#` comments are left out.

    Raises TrainerError with the line and what would be right.
    """
    if path.suffix != ".txt":
        raise TrainerError(f"--sample_prompts: only .txt prompt files are there yet, not {path.name}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise TrainerError(f"--sample_prompts: there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise TrainerError(f"--sample_prompts: {path} is not UTF-8 text") from error
    prompts = [
        _parse(line.strip(), f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.strip().startswith("#")
    ]
    if not prompts:
        raise TrainerError(f"--sample_prompts: there is no prompt in {path}")
    return prompts


def _parse(line: str, where: str) -> Prompt:
    text, *parts = re.split(r"\s--(?=[a-z]+(?:\s|$))", line)
    values: dict[str, object] = {"text": text.strip()}
    for part in parts:
        name, _, value = part.strip().partition(" ")
        values.update(_option(name, value.strip(), where))
    return Prompt(**values)  # type: ignore[arg-type]  # _option gives each field its type


def _option(name: str, value: str, where: str) -> dict[str, object]:
    try:
        match name:
            case "w":
                return {"width": _side(value)}
            case "h":
                return {"height": _side(value)}
            case "d":
                return {"seed": _in_range(int(value), 0, 2**63 - 1)}
            case "s":
                return {"steps": _in_range(int(value), 1, 1000)}
            case "g":
                return {"guidance": float(value)}
            case "l":
                return {"cfg": float(value)}
            case "n":
                return {"negative": value}
    except ValueError as error:
        raise TrainerError(f"{where}: --{name} {value!r} is not a number that can be used") from error
    raise TrainerError(f"{where}: --{name} is not there yet; known are --w --h --d --s --g --l --n")


def _side(value: str) -> int:
    return max(SMALLEST_SIDE, int(value) // SIDE_STEP * SIDE_STEP)


def _in_range(value: int, lowest: int, highest: int) -> int:
    if not lowest <= value <= highest:
        raise ValueError(value)
    return value
