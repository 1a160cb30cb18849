# SPDX-License-Identifier: Apache-2.0
"""A user's notes about a job: an absent value changes nothing, an empty one clears, and an invalid one is refused."""

from typing import Any

import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Annotation
from fluxgymd.core.journal.annotation import changed, sentence

FULL = Annotation(group="cats", tags=["good"], note="n", best="a.safetensors")


def change(before: Annotation | None, **asked: Any) -> Annotation | None:
    return changed(before, **{"group": None, "tags": None, "note": None, "best": None, **asked})


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (None, {}, None),
        (None, {"group": ""}, None),
        (None, {"group": "cats"}, Annotation(group="cats", tags=[])),
        (FULL, {}, FULL),
        (FULL, {"group": ""}, Annotation(tags=["good"], note="n", best="a.safetensors")),
        (FULL, {"tags": []}, Annotation(group="cats", tags=[], note="n", best="a.safetensors")),
        (FULL, {"tags": ["b", "a", "b"]}, Annotation(group="cats", tags=["b", "a"], note="n", best="a.safetensors")),
        (FULL, {"note": "first\n\tx", "best": ""}, Annotation(group="cats", tags=["good"], note="first\n\tx")),
        (FULL, {"group": "", "tags": [], "note": "", "best": ""}, None),
        (None, {"group": "g" * 64, "tags": [f"{n:032}" for n in range(16)], "note": "n" * 2000},
         Annotation(group="g" * 64, tags=[f"{n:032}" for n in range(16)], note="n" * 2000)),
    ],
)  # fmt: skip
def test_an_absent_value_changes_nothing_and_an_empty_one_clears(
    before: Annotation | None, asked: dict[str, Any], after: Annotation | None
) -> None:
    assert change(before, **asked) == after


@pytest.mark.parametrize(
    ("asked", "setting", "says"),
    [
        ({"group": "g" * 65}, "group", "group has 65 characters, but at most 64 are allowed."),
        ({"group": "two\nlines"}, "group", "group must be printable characters on one line"),
        ({"group": " cats"}, "group", "without a space at either end"),
        ({"tags": [str(n) for n in range(17)]}, "tags", "A job can have at most 16 tags, not 17."),
        ({"tags": ["good", ""]}, "tags", "The tag '' is not valid"),
        ({"tags": ["t" * 33]}, "tags", "a tag has 1 to 32 printable characters"),
        ({"tags": ["two words"]}, "tags", "The tag 'two words' is not valid"),
        ({"tags": ["a,b"]}, "tags", "without spaces and commas"),
        ({"tags": ["\x1b[31m"]}, "tags", "is not valid"),
        ({"note": "n" * 2001}, "note", "note has 2001 characters, but at most 2000 are allowed."),
        ({"note": "\x00"}, "note", "note must be printable characters, tabs and line breaks."),
    ],
)
def test_the_error_names_an_invalid_value_and_its_limit(asked: dict[str, Any], setting: str, says: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        change(FULL, **asked)
    assert says in refusal.value.message
    assert refusal.value.fields == {"setting": setting}


def test_the_history_says_what_is_noted() -> None:
    assert sentence(None) == "Its notes were cleared."
    assert sentence(Annotation(tags=["good"])) == "Its notes were changed: it has the tag good."
