# SPDX-License-Identifier: Apache-2.0
"""docs/trainer.md names every flag of sd-scripts once: with its default if it is there, in the other list if not."""

from __future__ import annotations

import dataclasses
import re

from library.options import Options
from library.upstream_flags import NOT_THERE_YET
from tests.trainer.running import ROOT

TEXT = (ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")


def default_of(field: dataclasses.Field[object]) -> str:
    keywords = field.metadata["argparse"]
    if keywords.get("required"):
        return "required"
    if keywords.get("action") == "store_true":
        return "off"
    return "-" if keywords["default"] is None else str(keywords["default"])


def test_the_table_has_each_flag_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `--(\w+)` \| (\S+) \|", TEXT, re.MULTILINE))
    assert rows == {field.name: default_of(field) for field in dataclasses.fields(Options)}


def test_the_other_list_has_each_flag_that_is_refused() -> None:
    listed = re.findall(r"`(--\w+)`", TEXT.partition("Not there yet (refused")[2].partition("##")[0])
    assert sorted(listed) == sorted(NOT_THERE_YET)


def test_no_flag_is_in_both() -> None:
    assert not {f"--{field.name}" for field in dataclasses.fields(Options)} & NOT_THERE_YET
