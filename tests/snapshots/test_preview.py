# SPDX-License-Identifier: Apache-2.0
"""A preview has what a job's copy would have: the same pictures, and the captions that would be trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.snapshots import preview, snapshot
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.snapshots.contents import Unfit

HOW = [
    Captions(lines=Lines.KEPT),
    Captions(lines=Lines.JOINED, trigger="c4t"),
    Captions(lines=Lines.EACH, trigger="c4t"),
]


@pytest.mark.parametrize("how", HOW)
def test_a_preview_holds_what_a_copy_holds_except_caches(tmp_path: Path, how: Captions) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8), "red").save(source / f"{name}.png")
    (source / "a.txt").write_text("a cat\non a mat\n")
    (source / "b.txt").write_text("c4t, a cat\n")
    (source / "a_0008x0008_flux.npz").write_bytes(b"a cache")
    target = tmp_path / "preview"
    target.mkdir()
    preview.make(source, target, how)
    snapshot.take(source, tmp_path / "copy", how)
    seen, copied = (
        {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (target, tmp_path / "copy")
    )
    assert seen == copied
    assert (source / "a.txt").read_text() == "a cat\non a mat\n"


def test_a_folder_that_could_not_be_copied_has_no_preview(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="does not exist"):
        preview.make(tmp_path / "gone", tmp_path, HOW[0])
