# SPDX-License-Identifier: Apache-2.0
"""From rows to what a reader wants to know: the goals and the table, as Markdown. Pure.

A report is the JSON that bench/trainer_gpu.py writes: `date`, `machine`, `size`, `command`, `rows` (each with `row`
as it was asked for, `side` in pixels, `flops` of a step, and `found` or `failed`) and `left_out`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rows import BATCH, BEST, CEILINGS, FLASH, HIGH, LOW, MIDDLE, OURS, RANK, SAME_FLAGS, THEIRS, USUAL

# Computed milliseconds of a step without checkpointing on an H200: matrix products at 790 TFLOP/s, attention at 600
# forward and 450 backward. The goal is to stay within WITHIN times these.
ATTENTION_COLUMN = {LOW: 62.0, MIDDLE: 132.0, HIGH: 258.0}
WITHIN = 1.5
FASTER_THAN_THEIRS = 2.0

Report = dict[str, Any]
Goal = tuple[str, str, bool | None]


def found(report: Report, whose: str, pixels: int, name: str | None = None) -> list[dict[str, Any]]:
    """The report's rows that were measured, of one trainer and size (an index), and if given of one name."""
    return [
        row
        for row in report["rows"]
        if row["found"]
        and (row["row"]["whose"], row["row"]["pixels"]) == (whose, pixels)
        and name in (None, row["row"]["name"])
    ]


def seconds(rows: Iterable[dict[str, Any]]) -> float | None:
    """The step time of the fastest row; None if there is no row."""
    return min((row["found"]["seconds"] for row in rows), default=None)


def goals(report: Report) -> list[Goal]:
    """Each goal, the figure, and whether the goal is met; None if a row is missing."""
    sides = {row["row"]["pixels"]: row["side"] for row in report["rows"]}
    rows: list[Goal] = []
    for pixels, column in ATTENTION_COLUMN.items():
        ours = seconds(row for name in (BEST, FLASH) for row in found(report, OURS, pixels, name))
        ratio = None if ours is None else 1000 * ours / column
        rows.append(_goal(f"{sides.get(pixels)} px: within {WITHIN} times {column:g} ms", ratio, at_most=WITHIN))
    for pixels in (LOW, HIGH):
        for what, name in (("both with FluxGym's usual flags", SAME_FLAGS), ("each at its best", None)):
            ours, theirs = (seconds(found(report, whose, pixels, name)) for whose in (OURS, THEIRS))
            ratio = None if ours is None or theirs is None else theirs / ours
            text = f"{sides.get(pixels)} px: {FASTER_THAN_THEIRS:g} times the speed of sd-scripts, {what}"
            rows.append(_goal(text, ratio, at_least=FASTER_THAN_THEIRS))
    return rows


def _goal(text: str, ratio: float | None, *, at_most: float | None = None, at_least: float | None = None) -> Goal:
    if ratio is None:
        return text, "not measured", None
    met = ratio <= at_most if at_most is not None else ratio >= (at_least or 0.0)
    return text, f"{ratio:.2f} times", met


def markdown(report: Report) -> str:
    machine = report["machine"]
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if value)
    parts = [
        f"# FluxGym's trainer on {machine['device']}, {report['date']}\n\n    {report['command']}\n\n{facts}.",
        _explained(report),
    ]
    if report["size"] == "full":
        parts.append(_table(("goal (issue 5, item 6)", "found", "met"), _goal_lines(report)))
    parts.append(_table(_HEAD, [_line(row) for row in report["rows"] if row["row"]["whose"] != CEILINGS]))
    if report["left_out"]:
        parts.append(
            "**Not measured, for lack of time, a checkout or a GPU:** " + "; ".join(report["left_out"]) + "."
        )
    return "\n\n".join(parts) + "\n"


def same_weights(report: Report) -> bool:
    """Whether all measured trainings had the same weights, by their checksums."""
    sums = [row["found"]["checksum"] for row in report["rows"] if "checksum" in (row["found"] or {})]
    return all(math.isclose(one, sums[0], rel_tol=1e-9) for one in sums)


def _explained(report: Report) -> str:
    """The paragraph that says what was compared, and how."""
    size = "FLUX.1 dev's 57 blocks" if report["size"] == "full" else f"a Flux of reduced size ({report['size']})"
    text = (
        f"Random weights of {size}, made on the device; batch {BATCH}, rank {RANK} on all layers, bf16, CLIP-L not "
        "trained, all caches warm, AdamW. Each row is one training by the trainer's own program, in its own process. "
        "Step times are medians by the device's clock, with the fastest and the slowest. The first step includes the "
        "compilation, which uses up to 8 processes here; later rows find parts of it in the compiler's cache. MFU is "
        "relative to the data sheet's dense bf16 and does not count recomputation. Peak memory is the memory of the "
        f"tensors. FluxGym's usual flags: `{USUAL}`."
    )
    if report["size"] != "full":
        text += " **This only shows that everything runs: at this size, the times say nothing about a GPU.**"
    if stood_in := sorted({name for row in report["rows"] for name in (row["found"] or {}).get("stood_in", ())}):
        text += f" sd-scripts ran without these packages, which a step does not use: {', '.join(stood_in)}."
    if not same_weights(report):
        text += " **Not all rows had the same weights, so they cannot be compared.**"
    for row in report["rows"]:
        if row["row"]["whose"] == CEILINGS and row["found"]:
            flops, copied = row["found"]["flops"] / 1e12, row["found"]["copied"] / 1e12
            text += f" The device itself: {flops:.4g} TFLOP/s in a large bf16 product, {copied:.3g} TB/s in a copy."
    return text


def _goal_lines(report: Report) -> list[tuple[str, ...]]:
    words = {True: "yes", False: "**no**", None: "-"}
    return [(goal, value, words[met]) for goal, value, met in goals(report)]


_HEAD = ("px", "whose", "row", "step ms", "first step s", "pictures/s", "MFU", "peak GB", "times 62/132/258 ms")


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    asked, one = row["row"], row["found"]
    start = (str(row["side"]), asked["whose"], asked["name"])
    if not one:
        return (*start, row["failed"], *[""] * (len(_HEAD) - len(start) - 1))
    milliseconds = [1000 * one[name] for name in ("seconds", "fastest", "slowest")]
    mfu = row["flops"] / one["seconds"] / row["peak_flops"] if row["peak_flops"] else None
    return (
        *start,
        "{:.1f} ({:.1f} to {:.1f})".format(*milliseconds),
        f"{one['first_step']:.1f}",
        f"{BATCH / one['seconds']:.2f}",
        f"{mfu:.0%}" if mfu else "-",
        f"{one['peak_bytes'] / 1e9:.1f}" if "peak_bytes" in one else "-",
        f"{milliseconds[0] / ATTENTION_COLUMN[asked['pixels']]:.2f}" if row["judged"] else "-",
    )


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    cells = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in cells)
