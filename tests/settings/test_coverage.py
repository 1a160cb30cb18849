# SPDX-License-Identifier: Apache-2.0
"""Checks that each setting of the trainer and the daemon is drawn, or that values.py gives a reason why not."""

from __future__ import annotations

import msgspec
import pytest

from fluxgym.protocol.messages import Context
from tests.settings import values
from tests.settings.draw import draw, drawn_flags, spelled
from tests.settings.interruptions import WAYS
from tests.settings.tables import Tables, ask

DRAWS = 200


@pytest.fixture(scope="module")
def tables() -> Tables:
    return ask()


def covered(there: set[str], drawn: set[str], not_drawn: set[str]) -> None:
    """Checks that each setting is in one of the two sets, and that these contain no setting that does not exist."""
    assert there - drawn - not_drawn == set(), "say in tests/settings/values.py what is drawn, or why nothing is"
    assert (drawn | not_drawn) - there == set(), "these are gone"


def test_each_flag_is_drawn_or_there_is_a_reason(tables: Tables) -> None:
    reasons = set(values.NOT_DRAWN) - {"check_job"}
    there = set(tables.flags) - {"check_job"}
    covered(there, set(drawn_flags(tables)), reasons)
    assert set(values.VALUES) | set(values.NEEDS) <= there
    assert {name for needs in values.NEEDS.values() for name in needs} <= there


def test_each_dataset_key_is_drawn_or_there_is_a_reason(tables: Tables) -> None:
    flags = set(drawn_flags(tables))
    by_flag = {key for key in tables.dataset_keys if values.KEYS_BY_FLAG.get(key, key) in flags}
    by_field = set(values.KEYS_BY_FIELD)
    assert {field for field in values.KEYS_BY_FIELD.values() if field != "dataset"} <= set(values.FIELDS)
    covered(set(tables.dataset_keys), by_flag | by_field, set(values.KEYS_NOT_DRAWN))


def test_each_network_argument_is_drawn(tables: Tables) -> None:
    covered(set(tables.network_args), set(values.NETWORK_ARGS), set())


def test_each_optimizer_that_is_installed_is_drawn(tables: Tables) -> None:
    print(f"not installed: {tables.missing}")
    assert set(values.OPTIMIZERS_NOT_DRAWN) | set(values.RATES) | set(values.OPTIMIZER_ARGS) <= set(tables.optimizers)
    assert len(tables.optimizers) >= 20


def test_each_schedule_is_drawn_or_there_is_a_reason(tables: Tables) -> None:
    covered(set(tables.schedule_classes), set(values.SCHEDULE_CLASSES), set(values.SCHEDULES_NOT_DRAWN))
    assert set(values.SCHEDULES) <= set(tables.schedules)


def test_each_field_of_a_job_is_drawn_or_there_is_a_reason() -> None:
    fields = {field.name for field in msgspec.structs.fields(Context)}
    covered(fields, {*values.FIELDS, *values.SAMPLED}, set(values.FIELDS_NOT_DRAWN))


def test_enough_draws_cover_everything_and_can_be_repeated(tables: Tables) -> None:
    drawn = [draw(tables, seed=1, number=number) for number in range(1, DRAWS + 1)]
    assert drawn == [draw(tables, seed=1, number=number) for number in range(1, DRAWS + 1)]
    assert drawn != [draw(tables, seed=2, number=number) for number in range(1, DRAWS + 1)]
    assert {each.way for each in drawn} == set(WAYS)
    options = {name for each in drawn for name in each.options}
    assert set(drawn_flags(tables)) <= options
    assert {name for each in drawn for name in each.fields} >= {*values.FIELDS, *values.SAMPLED}
    optimizers = {each.options["optimizer_type"][0] for each in drawn}
    expected = set(tables.optimizers) - set(values.OPTIMIZERS_NOT_DRAWN)
    assert optimizers == {spelled(name, tables) for name in expected}
    schedules = {
        words[0] for each in drawn for name, words in each.options.items() if name.startswith("lr_scheduler")
    }
    assert schedules >= {*tables.schedules, *values.SCHEDULE_CLASSES}
    arguments = {words[0].partition("=")[0] for each in drawn if (words := each.options.get("network_args"))}
    assert arguments == set(tables.network_args)
