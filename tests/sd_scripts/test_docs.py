# SPDX-License-Identifier: Apache-2.0
"""docs/trainer.md has one table of all flags: ours with their defaults, and those that sd-scripts has and we lack."""

from __future__ import annotations

import dataclasses
import json
import re

from library.options.options import Options
from library.options.upstream_flags import NOT_THERE, WITHOUT_EFFECT
from tests.sd_scripts.running import ROOT

TEXT = (ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `--(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", TEXT, re.MULTILINE)}
# Recorded from the parser of flux_train_network.py at 48d368f: each flag with its default.
UPSTREAM = json.loads((ROOT / "tests/sd_scripts/upstream/sd-scripts-flags.json").read_text(encoding="utf-8"))
OWN = {field.name: field for field in dataclasses.fields(Options) if "argparse" in field.metadata}
NEW = {"attention", "check_job", "debug_hang", "debug_hang_once", "deterministic", "ema_decay"}
NEW |= {"no_compile", "plan", "replan", "vram"}
# sd-scripts has added these after 48d368f, for another model.
NEW |= {f"compile{name}" for name in ("", "_backend", "_cache_size_limit", "_dynamic", "_fullgraph", "_mode")}
# Our defaults differ from sd-scripts' here: ours is the value that sd-scripts ends up with, or another way to say the
# same.
DEFAULTS_THAT_DIFFER = {"dataset_repeats", "log_tracker_name", "log_with", "network_dim", "optimizer_type"}


def default_of(field: dataclasses.Field[object]) -> str:
    keywords = field.metadata["argparse"]
    if keywords.get("required"):
        return "required"
    if keywords.get("action") == "store_true":
        return "off"
    return "-" if keywords["default"] in (None, "") else str(keywords["default"])


def test_the_table_has_each_flag_with_its_default_and_what_it_does() -> None:
    ours = {name: row for name, row in ROWS.items() if f"--{name}" not in NOT_THERE | WITHOUT_EFFECT}
    assert {name: row[0] for name, row in ours.items()} == {name: default_of(field) for name, field in OWN.items()}
    helps = {name: str(field.metadata["argparse"]["help"]).replace("|", "&#124;") for name, field in OWN.items()}
    assert {name: row[1] for name, row in ours.items()} == helps
    assert all(re.match(r"(same|better|part|new|no effect)\b", row[2]) for row in ours.values())


def test_the_table_has_each_flag_that_is_refused_or_ignored_with_the_reason() -> None:
    listed = {f"--{name}": row[2] for name, row in ROWS.items() if row[2].startswith("not supported: ")}
    assert listed == {name: f"not supported: {reason}" for name, reason in NOT_THERE.items()}
    ignored = {name: ROWS[name.removeprefix("--")][2] for name in WITHOUT_EFFECT}
    assert ignored == {name: f"no effect: {reason}" for name, reason in WITHOUT_EFFECT.items()}


def test_each_flag_of_sd_scripts_is_accepted_or_refused_by_name() -> None:
    own = {f"--{name}" for name in OWN}
    others = set(NOT_THERE) | set(WITHOUT_EFFECT)
    assert own & others == set(NOT_THERE) & set(WITHOUT_EFFECT) == set()
    assert own | others == set(UPSTREAM) | {f"--{name}" for name in NEW}


def test_defaults_are_those_of_sd_scripts() -> None:
    for name, field in OWN.items():
        ours, theirs = default_of(field), UPSTREAM.get(f"--{name}")
        if name in NEW | DEFAULTS_THAT_DIFFER or ours == "required":
            continue
        same_number = isinstance(theirs, int | float) and ours == str(float(theirs))
        assert same_number or ours == ("-" if theirs in (None, "") else str(theirs)), name
