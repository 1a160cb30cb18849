# SPDX-License-Identifier: Apache-2.0
"""All samples of a training in one picture: prompts down, epochs (or steps) across.

The sheet is rebuilt from the files in `sample/` each time, so a resumed run continues it. If a sample is missing or
damaged, its cell shows a sentence. The width is bounded: of many columns, an evenly spaced selection is shown, which
always includes the first and the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from library import atomic
from library.options.options import Options
from library.options.plan import Plan
from library.output import names

MOST_COLUMNS = 12
LARGEST_SIDE, SMALLEST_SIDE = 256, 64
HIGHEST = 8192
"""Pixels. With more than 32 prompts, thumbnails shrink to keep this height, down to SMALLEST_SIDE."""
LABEL_WIDTH, HEADER_HEIGHT, GAP, FONT_SIZE = 200, 24, 8, 12
PAPER, INK, EMPTY = (255, 255, 255), (0, 0, 0), (232, 232, 232)
PROMPT = "prompt"
"""The key of the text in a sample's PNG that holds its prompt. Samples by sd-scripts lack it."""


@dataclass(frozen=True, order=True)
class Column:
    """A moment of the training: the steps done by then, and the column's heading."""

    step: int
    label: str


@dataclass(frozen=True)
class Box:
    """A rectangle of the sheet, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The positions on a sheet: a row for each prompt, and square cells of `side` pixels."""

    rows: int
    columns: int
    side: int

    @property
    def size(self) -> tuple[int, int]:
        last = self.cell(self.rows - 1, self.columns - 1)
        return last.left + last.width + GAP, last.top + last.height + GAP

    def cell(self, row: int, column: int) -> Box:
        left = GAP + LABEL_WIDTH + GAP + column * (self.side + GAP)
        return Box(left, GAP + HEADER_HEIGHT + row * (self.side + GAP), self.side, self.side)

    def row_label(self, row: int) -> Box:
        return Box(GAP, self.cell(row, 0).top, LABEL_WIDTH, self.side)

    def column_label(self, column: int) -> Box:
        return Box(self.cell(0, column).left, GAP, self.side, HEADER_HEIGHT)


# ---- what is shown where: pure -------------------------------------------------------------------------------------


def arrange(files: Iterable[str], options: Options, plan: Plan, *, step: int) -> dict[Column, dict[int, str]]:
    """The columns in order, each with its samples' file names by the prompt's index. If a moment has several samples
    of a prompt, the newest counts.

    Samples of moments after `step` are left out: a resumed run repeats those steps.
    """
    newest: dict[tuple[Column, int], tuple[str, str]] = {}
    for file in files:
        if named := names.read_sample_name(options, file):
            place = _column(named, plan), named.index
            newest[place] = max(newest.get(place, ("", "")), (named.date, file))
    arranged: dict[Column, dict[int, str]] = {}
    for (column, index), (_, file) in sorted(newest.items()):
        if column.step <= step:
            arranged.setdefault(column, {})[index] = file
    return arranged


def _column(named: names.SampleName, plan: Plan) -> Column:
    if named.epoch:
        return Column(min(named.epoch * plan.steps_per_epoch, plan.total_steps), f"epoch {named.epoch}")
    return Column(named.step, f"step {named.step}") if named.step else Column(0, "start")


def thin_out(columns: Sequence[Column], most: int = MOST_COLUMNS) -> list[Column]:
    """At most `most` of the columns, evenly spaced, including the first and the last."""
    if len(columns) <= most:
        return list(columns)
    return [columns[place * (len(columns) - 1) // (most - 1)] for place in range(most)]


def cell_side(rows: int, largest: int) -> int:
    """The side of a cell in pixels, for `rows` prompts whose samples have sides of up to `largest` pixels."""
    return max(SMALLEST_SIDE, min(LARGEST_SIDE, largest, HIGHEST // rows))


def wrap(text: str, *, width: float, lines: int, measure: Callable[[str], float]) -> list[str]:
    """The text in at most `lines` lines, none of which `measure` finds wider than `width`. An ellipsis replaces the
    rest.

    A word that is wider than a line is broken between letters.
    """
    wrapped: list[str] = []
    rest = " ".join(text.split())
    while rest and len(wrapped) < lines:
        end = min(len(rest), int(width) + 1)  # a letter is at least a pixel wide
        while end > 1 and measure(rest[:end]) > width:
            space = rest.rfind(" ", 1, end)
            end = space if space > 0 else end - 1
        wrapped.append(rest[:end])
        rest = rest[end:].lstrip()
    if rest and wrapped:
        while wrapped[-1] and measure(wrapped[-1] + "...") > width:
            wrapped[-1] = wrapped[-1][:-1]
        wrapped[-1] += "..."
    return wrapped


# ---- the picture ---------------------------------------------------------------------------------------------------


def labelled(prompt: str) -> PngImagePlugin.PngInfo:
    """The PNG metadata of a sample, which name its prompt."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(PROMPT, prompt)
    return info


def update(
    folder: Path, options: Options, plan: Plan, *, step: int, prompts: Sequence[str], largest: int
) -> Path | None:
    """Makes the sheet of the samples in `folder` up to `step`, and writes it there. None if there are no samples yet.

    `prompts` are the texts, `largest` is the largest side of their samples in pixels. Raises OSError.
    """
    arranged = arrange((path.name for path in folder.iterdir()), options, plan, step=step)
    if not arranged or not prompts:
        return None
    columns = thin_out(list(arranged))
    layout = Layout(rows=len(prompts), columns=len(columns), side=cell_side(len(prompts), largest))
    cells = {
        (row, place): _thumbnail(folder, arranged[column].get(row), prompt, layout.side)
        for place, column in enumerate(columns)
        for row, prompt in enumerate(prompts)
    }
    sheet = draw(layout, prompts, [column.label for column in columns], cells)
    path = folder / names.contact_sheet_name(options)
    atomic.write_file(path, lambda part: sheet.save(part, format="PNG"), durable=False)
    return path


def _thumbnail(folder: Path, name: str | None, prompt: str, side: int) -> Image.Image | str:
    """The sample, reduced to fit a cell, or a sentence to show in its place."""
    if name is None:
        return "No sample."
    try:
        with Image.open(folder / name) as opened:
            opened.load()
            made_of = opened.info.get(PROMPT, prompt)
            picture = opened.convert("RGB")
    except Exception:  # noqa: BLE001 (Pillow raises all sorts of errors for a broken file)
        return "The sample cannot be read."
    if made_of != prompt:
        return "The sample is from another prompt."
    picture.thumbnail((side, side))
    return picture


def draw(
    layout: Layout,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    cells: Mapping[tuple[int, int], Image.Image | str],
) -> Image.Image:
    """The sheet. For each (row, column), `cells` has a sentence, or a picture that is no larger than a cell."""
    sheet = Image.new("RGB", layout.size, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for row, label in enumerate(row_labels):
        _write(pen, font, label, layout.row_label(row))
    for column, label in enumerate(column_labels):
        _write(pen, font, label, layout.column_label(column))
    for (row, column), content in cells.items():
        box = layout.cell(row, column)
        if isinstance(content, str):
            pen.rectangle((box.left, box.top, box.left + box.width - 1, box.top + box.height - 1), fill=EMPTY)
            _write(pen, font, content, box)
        else:
            left, top = (box.width - content.width) // 2, (box.height - content.height) // 2
            sheet.paste(content, (box.left + left, box.top + top))
    return sheet


def _write(pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str, box: Box) -> None:
    height = FONT_SIZE * 4 // 3
    lines = wrap(text, width=box.width, lines=box.height // height, measure=font.getlength)
    pen.multiline_text((box.left, box.top), "\n".join(lines), fill=INK, font=font, spacing=height - FONT_SIZE)
