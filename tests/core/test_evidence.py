# SPDX-License-Identifier: Apache-2.0
"""The truth table of evidence: its rows by name, and what holds in every combination that there is."""

from __future__ import annotations

import itertools

import pytest

from fluxgymd.core.evidence import (
    Conclusion,
    Ended,
    Evidence,
    LeftOver,
    LostSight,
    NeverStarted,
    Rebooted,
    Runs,
    Where,
    conclude,
)
from fluxgymd.core.records import ExitRecord

EXITED = ExitRecord(kind="exited", code=42)
NEVER = ExitRecord(kind="never-started")
FAILED = ExitRecord(kind="exec-failed", errno=2)

EVERYTHING = [
    Evidence(where=where, shim_known=shim, started=started, exit=record, lock_held=lock, populated=populated)
    for where, shim, started, record, lock, populated in itertools.product(
        Where, (True, False), (True, False), (None, EXITED, NEVER, FAILED), (True, False), (True, False, None)
    )
]
"""All 288."""


def seen(
    *,
    where: Where = Where.HERE,
    shim_known: bool = True,
    started: bool = True,
    record: ExitRecord | None = None,
    lock_held: bool = False,
    populated: bool | None = False,
) -> Evidence:
    return Evidence(
        where=where, shim_known=shim_known, started=started, exit=record, lock_held=lock_held, populated=populated
    )


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        # daemons.md 2.8, row by row
        (seen(record=EXITED), Ended(EXITED)),
        (seen(record=EXITED, populated=True), LeftOver(EXITED)),
        (seen(lock_held=True, populated=True), Runs()),
        (seen(lock_held=True, populated=None), Runs()),
        (seen(populated=False), Ended(None)),
        (seen(where=Where.OTHER_BOOT), Rebooted()),
        # DESIGN.md's additions
        (seen(shim_known=False, started=False), NeverStarted()),
        (seen(record=EXITED, lock_held=True, populated=True), Runs()),
        # a gate that never opened
        (seen(record=NEVER, started=False), NeverStarted()),
        (seen(record=NEVER, started=False, where=Where.OTHER_BOOT), NeverStarted()),
        (seen(started=False), NeverStarted()),
        # it ended before the reboot, and its record says how
        (seen(record=EXITED, where=Where.OTHER_BOOT, populated=None), Ended(EXITED)),
        (seen(record=FAILED), Ended(FAILED)),
    ],
)
def test_the_rows(evidence: Evidence, expected: Conclusion) -> None:
    assert conclude(evidence) == expected


def test_promise_4_a_shim_that_is_gone_frees_nothing_while_its_trainer_may_run() -> None:
    for populated in (True, None):
        assert isinstance(conclude(seen(populated=populated)), LostSight)
    assert isinstance(conclude(seen(record=EXITED, populated=None)), LostSight)


def final(conclusion: Conclusion) -> bool:
    """The GPU is free after this."""
    return isinstance(conclusion, Ended | NeverStarted | Rebooted)


@pytest.mark.parametrize("evidence", EVERYTHING)
def test_in_every_combination(evidence: Evidence) -> None:
    conclusion = conclude(evidence)
    here = evidence.where is Where.HERE
    ran = evidence.exit is not NEVER  # nothing can be left of what never ran, but the shim that is about to leave
    if here and ran and (evidence.lock_held or evidence.populated is not False):
        assert not final(conclusion), "something of it may run here"
    if evidence.where is Where.ELSEWHERE:
        assert isinstance(conclusion, LostSight), "it cannot be asked"
    if isinstance(conclusion, Ended | LeftOver):
        assert conclusion.exit is evidence.exit, "no code is invented, and none is lost"
    if isinstance(conclusion, NeverStarted):
        assert evidence.exit is NEVER or not evidence.started
    if isinstance(conclusion, Rebooted):
        assert evidence.where is Where.OTHER_BOOT
        assert evidence.exit is None
    if isinstance(conclusion, LostSight):
        assert conclusion.why
