# SPDX-License-Identifier: Apache-2.0
"""Imports with the real importer, as the daemon runs them."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from fluxgym.errors import InvalidDataset
from fluxgymd.datasets import importing
from fluxgymd.datasets.importing import Importer
from fluxgymd.failpoints import VARIABLE
from fluxgymd.pictures.lines import AnyLine, ImportedPicture, Wishes
from tests.datasets.importing import make_pictures
from tests.harness.waiting import DEADLINE_SECONDS


async def imported(importer: Importer, source: Path, wishes: Wishes) -> list[AnyLine]:
    lines: list[AnyLine] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(importer.run(source, wishes)) as batches:
        async for batch in batches:
            lines += batch
    return lines


def test_promise_10_an_importer_whose_line_is_too_long_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for a reader of the rest, and its client for its end."""
    source = make_pictures(tmp_path / "cats")
    for caption in source.glob("*.txt"):
        caption.write_text("a" * 90_000, encoding="utf-8")
    importer = Importer(tmp_path / "store")
    monkeypatch.setattr(importing, "LINE_BYTES", 10_000)
    monkeypatch.setenv(VARIABLE, "import.printed=hang")
    with pytest.raises(InvalidDataset, match="could not be imported completely"):
        asyncio.run(imported(importer, source, Wishes()))
    monkeypatch.undo()
    assert len(asyncio.run(imported(importer, source, Wishes()))) == 3


def test_an_import_heeds_what_its_client_wishes(tmp_path: Path) -> None:
    make_pictures(tmp_path / "cats/black", 1)
    (line,) = asyncio.run(imported(Importer(tmp_path / "store"), tmp_path / "cats", Wishes(subfolders=True)))
    assert isinstance(line, ImportedPicture)
    assert line.path == "black/IMG_1.jpg"
