# SPDX-License-Identifier: Apache-2.0
"""Checks that the tables in docs/watchdog.md match the code and the traces."""

import pytest

from tests.traces import table
from tests.traces.collection import HEALTHY, STUCK


def test_the_tables_match_the_code() -> None:
    page = table.PAGE.read_text()
    assert page == table.filled(page), "docs/watchdog.md is stale: python -m tests.traces.table --write"


def test_a_stale_table_is_found() -> None:
    page = table.PAGE.read_text()
    assert "| training | 10 min | 30 min | 4 h | yes |" in page
    stale = page.replace("| training | 10 min |", "| training | 11 min |")
    assert table.filled(stale) == page


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="has no markers <!-- summary -->"):
        table.filled("A page.")


def test_in_the_summary_fluxgym_ends_no_healthy_run_and_misses_no_hang() -> None:
    ours = table.summary().splitlines()[2]
    healthy, hung = len(HEALTHY.traces), len(STUCK.traces)
    assert ours == f"| FluxGym | 0 of {healthy} | {hung} | 0 | 0 | 0 |"
