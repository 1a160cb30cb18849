# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: each cell shows its own sample, and a sheet is made whatever else the folder contains."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PIL import Image

from library.options import plan
from library.output import names
from library.sample import contact_sheet
from library.sample.contact_sheet import Column, Layout
from tests.sd_scripts.command_line import options

OPTIONS = options("--output_name", "lora", "--max_train_steps", "7")
PLAN = plan.make(OPTIONS, batches_per_epoch=2)
DATE, LATER = "20261123131507", "20261123141507"
PROMPTS = ["a red square", "nothing"]
EMPTY = contact_sheet.EMPTY


def sample(
    folder: Path,
    colour: tuple[int, int, int],
    *,
    index: int,
    prompt: str | None = None,
    date: str = DATE,
    **when: int,
) -> Path:
    """A sample of 40x20 pixels."""
    moment = {"epoch": None, "step": 0} | when
    path = folder / names.sample_name(OPTIONS, index=index, date=date, seed=None, **moment)  # type: ignore[arg-type]
    info = contact_sheet.labelled(prompt) if prompt is not None else None
    Image.new("RGB", (40, 20), colour).save(path, pnginfo=info)
    return path


def update(folder: Path, *, step: int = 7, prompts: list[str] = PROMPTS) -> Image.Image:
    path = contact_sheet.update(folder, OPTIONS, PLAN, step=step, prompts=prompts, largest=40)
    assert path == folder / "lora-contact-sheet.png"
    with Image.open(path) as sheet:
        return sheet.convert("RGB")


def colours(sheet: Image.Image, *, columns: int) -> list[list[object]]:
    """The pixel in the middle of each cell, or "empty" where the cell has a sentence instead of a sample."""
    layout = Layout(rows=len(PROMPTS), columns=columns, side=contact_sheet.SMALLEST_SIDE)
    assert sheet.size == layout.size
    found = []
    for row in range(len(PROMPTS)):
        boxes = [layout.cell(row, column) for column in range(columns)]
        empty = [sheet.getpixel((box.left, box.top + box.height - 1)) == EMPTY for box in boxes]
        middle = [sheet.getpixel((box.left + box.width // 2, box.top + box.height // 2)) for box in boxes]
        found.append(["empty" if nothing else pixel for nothing, pixel in zip(empty, middle, strict=True)])
    return found


def test_each_cell_shows_its_own_sample_and_a_sentence_where_there_is_none(tmp_path: Path) -> None:
    sample(tmp_path, (1, 0, 0), index=0, epoch=0)
    sample(tmp_path, (2, 0, 0), index=1, epoch=0, prompt="nothing")
    sample(tmp_path, (3, 0, 0), index=0, epoch=1)
    sample(tmp_path, (4, 0, 0), index=1, epoch=1, prompt="what stood in the file before")
    sample(tmp_path, (5, 0, 0), index=0, step=3)
    sample(tmp_path, (6, 0, 0), index=1, epoch=4).write_bytes(b"torn")
    sample(tmp_path, (7, 0, 0), index=0, epoch=4, date=LATER)
    sample(tmp_path, (8, 0, 0), index=0, epoch=4)
    sample(tmp_path, (9, 0, 0), index=2, epoch=4)
    assert colours(update(tmp_path), columns=4) == [
        [(1, 0, 0), (3, 0, 0), (5, 0, 0), (7, 0, 0)],
        [(2, 0, 0), "empty", "empty", "empty"],
    ]


def test_samples_that_a_resumed_run_repeats_are_not_shown_yet(tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 4):
        sample(tmp_path, (epoch, 0, 0), index=0, epoch=epoch)
    assert colours(update(tmp_path, step=4), columns=2)[0] == [(1, 0, 0), (2, 0, 0)]
    assert colours(update(tmp_path, step=7), columns=4)[0][3] == (4, 0, 0)


def test_without_samples_there_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "lora-contact-sheet.png").write_bytes(b"")
    (tmp_path / "other_e000001_00_20261123131507.png").write_bytes(b"")
    assert contact_sheet.update(tmp_path, OPTIONS, PLAN, step=7, prompts=PROMPTS, largest=64) is None


def test_a_sheet_that_cannot_be_written_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(tmp_path, (1, 0, 0), index=0, epoch=1)
    before = update(tmp_path)
    sample(tmp_path, (2, 0, 0), index=0, epoch=2)

    def full(sheet: Image.Image, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", full)
        with pytest.raises(OSError, match="No space left"):
            update(tmp_path)
    with Image.open(tmp_path / "lora-contact-sheet.png") as sheet:
        assert sheet.convert("RGB").tobytes() == before.tobytes()
    assert not list(tmp_path.glob("*.tmp"))


def test_columns_are_labelled_in_the_order_of_steps() -> None:
    files = [
        names.sample_name(OPTIONS, epoch=epoch, step=step or 0, index=0, date=DATE, seed=42)
        for epoch, step in ((2, None), (None, 3), (1, None), (4, None), (0, None), (None, 7))
    ]
    arranged = contact_sheet.arrange(files, OPTIONS, PLAN, step=7)
    labels = [column.label for column in arranged]
    assert labels == ["start", "epoch 1", "step 3", "epoch 2", "epoch 4", "step 7"]
    assert list(arranged)[4].step == 7, "the last epoch is cut short"


def test_a_sample_is_recognized_by_its_name_and_a_sheet_is_not_a_sample() -> None:
    for given in (OPTIONS, options("--output_name", "a.b_e000001_00")):
        for epoch, step, index in ((4, None, 0), (None, 150, 7), (None, 12345678, 123)):
            name = names.sample_name(given, epoch=epoch, step=step or 0, index=index, date=DATE, seed=42)
            read = names.read_sample_name(given, name)
            assert read == names.SampleName(epoch=epoch, step=step, index=index, date=DATE)
        assert names.read_sample_name(given, names.contact_sheet_name(given)) is None
    assert names.read_sample_name(OPTIONS, f"lora_x_e000001_00_{DATE}.png") is None
    assert names.read_sample_name(OPTIONS, f"lora_e000001_00_{DATE}.png.tmp") is None


@pytest.mark.parametrize(("count", "shown"), [(1, [0]), (12, list(range(12))), (13, [*range(11), 12]), (1000, None)])
def test_many_columns_are_thinned_out_evenly(count: int, shown: list[int] | None) -> None:
    columns = [Column(step, f"step {step}") for step in range(count)]
    kept = [column.step for column in contact_sheet.thin_out(columns)]
    assert shown is None or kept == shown
    assert (kept[0], kept[-1], len(kept)) == (0, count - 1, min(count, 12))
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept)}
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("rows", "largest", "side"), [(4, 1024, 256), (4, 128, 128), (4, 32, 64), (64, 1024, 128), (1000, 1024, 64)]
)
def test_cells_are_as_large_as_the_sheet_allows(rows: int, largest: int, side: int) -> None:
    assert contact_sheet.cell_side(rows, largest) == side


def test_nothing_overlaps() -> None:
    layout = Layout(rows=3, columns=4, side=64)
    boxes = [layout.cell(row, column) for row in range(3) for column in range(4)]
    boxes += [layout.row_label(row) for row in range(3)] + [layout.column_label(column) for column in range(4)]
    for box in boxes:
        others = [other for other in boxes if other != box]
        assert not any(
            box.left < other.left + other.width
            and other.left < box.left + box.width
            and box.top < other.top + other.height
            and other.top < box.top + box.height
            for other in others
        )
        assert box.left + box.width <= layout.size[0]
        assert box.top + box.height <= layout.size[1]


@pytest.mark.parametrize(
    ("text", "lines", "wrapped"),
    [
        ("a cat", 3, ["a cat"]),
        ("a red cat  on\na mat", 3, ["a red cat", "on a mat"]),
        ("a red cat on a mat", 1, ["a red c..."]),
        ("abcdefghijklm", 3, ["abcdefghij", "klm"]),
        ("abcdefghijklm", 1, ["abcdefg..."]),
        ("", 3, []),
        ("x" * 100_000, 2, ["xxxxxxxxxx", "xxxxxxx..."]),
    ],
)
def test_text_is_wrapped(text: str, lines: int, wrapped: list[str]) -> None:
    assert contact_sheet.wrap(text, width=10, lines=lines, measure=len) == wrapped
