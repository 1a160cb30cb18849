# SPDX-License-Identifier: Apache-2.0
"""A folder as the copy of a dataset in a job would be, for a question to a trainer: links to the pictures, and the
captions as the job would have them. No picture is opened, nothing is durable, and no caches are there."""

import os
from pathlib import Path

from fluxgymd.snapshots import contents, snapshot
from fluxgymd.snapshots.captions import Captions, Lines


def make(source: Path, target: Path, how: Captions) -> None:
    """Fills the folder `target`. Unfit or OSError if a submit could not copy the dataset either. Blocks."""
    for picture in contents.look(source, caption=how.ending).pictures:
        _link(picture, target)
        caption = picture.with_name(picture.stem + how.ending)
        if os.path.lexists(caption):
            text = snapshot.composed(caption, how) if how.lines is not Lines.KEPT else None
            if text is None:
                _link(caption, target)
            else:
                (target / caption.name).write_bytes(text)


def _link(file: Path, folder: Path) -> None:
    os.symlink(os.path.abspath(file), folder / file.name)
