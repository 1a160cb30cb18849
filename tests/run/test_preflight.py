# SPDX-License-Identifier: Apache-2.0
"""Tests of what is checked before a job is queued."""

from pathlib import Path

import pytest

from fluxgymd.run.preflight import is_the_copy
from fluxgymd.store.home import JobFolder


@pytest.mark.parametrize(
    ("dataset", "copied"),
    [
        ("/home/outputs/cat/dataset", True),
        ("/home/outputs/.new-1/dataset", True),
        ("/home/outputs/cat/dataset/2", True),
        ("/home/outputs/.new-1/dataset/2", True),
        ("/home/outputs/other/dataset", False),  # as with --like, when the pictures are gone
        ("/home/datasets/cat", False),
        ("/pictures", False),
    ],
)
def test_pictures_that_will_be_copied_need_room(dataset: str, *, copied: bool) -> None:
    assert is_the_copy(Path(dataset), JobFolder("/home/outputs/cat")) == copied
