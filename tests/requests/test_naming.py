# SPDX-License-Identifier: Apache-2.0
"""Sentences about the copies of pictures, with the names that their owner knows."""

from __future__ import annotations

from pathlib import Path

from fluxgym.messages import Context, Part
from fluxgymd.requests.naming import names, renamed
from fluxgymd.snapshots import subsets


def test_the_tenth_part_is_not_taken_for_the_first() -> None:
    job = Context(name="x", parts=[Part(dataset=letter) for letter in "abcdefghij"])
    known = names(job, subsets.folders(job, Path("/job/dataset")))
    assert renamed("/job/dataset/10/a.png and /job/dataset/1/b.png", known) == "j/a.png and a/b.png"
