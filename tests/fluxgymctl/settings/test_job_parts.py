# SPDX-License-Identifier: Apache-2.0
"""A part of a job's pictures in a flag."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from fluxgym.protocol.messages import Part
from fluxgymctl.settings.flags import job_options, values


def read(*words: str) -> list[Part]:
    """Returns the parts that a verb gets from these words."""
    found: dict[str, object] = {}

    @click.command()
    @job_options
    def verb(file: Path | None, **given: object) -> None:
        found.update(values(given))

    verb.main([*words], standalone_mode=False)
    parts = found["parts"]
    assert isinstance(parts, list)
    return parts


def test_a_part_has_what_its_flag_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(
        "--part=cats",
        "--part=./a=b,regularisation,repeats=3",
        "--parts=dogs,caption=a dog=pet",
        "--part=../x,folder=10_a cat",
    ) == [
        Part(dataset="cats"),
        Part(dataset=str(tmp_path / "a=b"), repeats=3, regularisation=True),
        Part(dataset="dogs", caption="a dog=pet"),
        Part(dataset=str(tmp_path.parent / "x"), folder="10_a cat"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *(",repeats=3", "a,b", "a,repeat=3", "a,repeats", "a,repeats=x", "a,regularisation=true", "a,dataset=b"),
        *("a,repeats=1,repeats=2", "a,caption=x,y", "a,"),
    ],
)
def test_a_wrong_part_gets_a_sentence_that_names_the_spec_file(text: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        read("--part", text)
    assert refused.value.message == (
        f"--part is {text!r}, but must be WHAT[,repeats=N][,regularisation][,caption=TEXT][,folder=NAME]; a folder "
        "or a caption with a comma can only be given in a spec file, under [[parts]]."
    )
