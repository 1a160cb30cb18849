# SPDX-License-Identifier: Apache-2.0
"""Sentences about the copies of pictures, with the names that their owner knows."""

from __future__ import annotations

from pathlib import Path

from fluxgym.errors import InvalidDataset
from fluxgym.protocol.messages import Context, Part
from fluxgymd.requests.naming import names, renamed, renamed_error
from fluxgymd.snapshots import subsets


def test_the_tenth_part_is_not_taken_for_the_first() -> None:
    job = Context(name="x", parts=[Part(dataset=letter) for letter in "abcdefghij"])
    known = names(job, subsets.folders(job, Path("/job/dataset")))
    assert renamed("/job/dataset/10/a.png and /job/dataset/1/b.png", known) == "j/a.png and a/b.png"


def test_a_folder_is_not_taken_for_the_beginning_of_another() -> None:
    job = Context(name="x", parts=[Part(dataset="/cat/"), Part(dataset="/cat2"), Part(dataset="dogs")])
    known = names(job, subsets.folders(job, Path("/job/dataset")), [Path("/cat"), Path("/cat2"), Path("/built/3")])
    told = "/cat/a.png, /job/dataset/1/a.png, /cat2/b.png, /job/dataset/2/b.png and /built/3/c.png"
    assert renamed(told, known) == "/cat/a.png, /cat/a.png, /cat2/b.png, /cat2/b.png and dogs/c.png"


def test_an_error_names_what_was_given_in_its_fields_too() -> None:
    error = InvalidDataset("/built/3/c.png is torn.", path="/built/3/c.png", line=1)
    found = renamed_error(error, {"/built/3": "dogs"})
    assert isinstance(found, InvalidDataset)
    assert found.parameters() == {"message": "dogs/c.png is torn.", "path": "dogs/c.png", "line": 1}
