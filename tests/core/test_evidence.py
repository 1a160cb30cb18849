# SPDX-License-Identifier: Apache-2.0
"""The truth table of evidence: single rows, and rules that hold for every combination."""

from __future__ import annotations

import itertools

import pytest

from fluxgymd.core.evidence import (
    Conclusion,
    Evidence,
    Exited,
    LeftOver,
    LostSight,
    NeverStarted,
    Rebooted,
    Runs,
    RunsAlone,
    TrainerProcess,
    Where,
    conclude,
)
from fluxgymd.core.journal.records import ExitRecord

EXITED = ExitRecord(kind="exited", code=42)
NEVER = ExitRecord(kind="never-started")
FAILED = ExitRecord(kind="exec-failed", errno=2)

EVERYTHING = [
    Evidence(
        where=where,
        shim_known=shim,
        started=started,
        exit=record,
        supervised=supervised,
        trainer=trainer,
        populated=populated,
    )
    for where, shim, started, record, supervised, trainer, populated in itertools.product(
        Where,
        (True, False),
        (True, False),
        (None, EXITED, NEVER, FAILED),
        (True, False),
        TrainerProcess,
        (True, False, None),
    )
]
"""All 864 combinations."""


def seen(
    *,
    where: Where = Where.HERE,
    shim_known: bool = True,
    started: bool = True,
    record: ExitRecord | None = None,
    supervised: bool = False,
    trainer: TrainerProcess = TrainerProcess.ENDED,
    populated: bool | None = False,
    doubtful: tuple[int, ...] = (),
) -> Evidence:
    return Evidence(
        where=where,
        shim_known=shim_known,
        started=started,
        exit=record,
        supervised=supervised,
        trainer=trainer,
        populated=populated,
        doubtful=doubtful,
    )


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        # The basic rows: an exit record, with and without remaining processes; a shim that lives; no record; a
        # reboot.
        (seen(record=EXITED), Exited(EXITED)),
        (seen(record=EXITED, populated=True), LeftOver(EXITED)),
        (seen(supervised=True, populated=True), Runs()),
        (seen(supervised=True, populated=None), Runs()),
        (seen(populated=False), Exited(None)),
        (seen(where=Where.OTHER_BOOT), Rebooted()),
        # No shim was recorded; a shim that has written its record and is about to exit.
        (seen(shim_known=False, started=False), NeverStarted()),
        (seen(record=EXITED, supervised=True, populated=True), Runs()),
        # The gate never opened.
        (seen(record=NEVER, started=False), NeverStarted()),
        (seen(record=NEVER, started=False, where=Where.OTHER_BOOT), NeverStarted()),
        (seen(started=False), NeverStarted()),
        # The exit record counts even after a reboot, and if the trainer could not be executed.
        (seen(record=EXITED, where=Where.OTHER_BOOT, populated=None), Exited(EXITED)),
        (seen(record=FAILED), Exited(FAILED)),
    ],
)
def test_each_row_of_the_table_holds(evidence: Evidence, expected: Conclusion) -> None:
    assert conclude(evidence) == expected


@pytest.mark.parametrize("populated", [True, False, None])
def test_a_live_trainer_continues_without_its_shim(*, populated: bool | None) -> None:
    assert conclude(seen(trainer=TrainerProcess.LIVES, populated=populated)) == RunsAlone()


def test_what_a_trainer_that_ended_unsupervised_left_behind_is_stopped() -> None:
    assert conclude(seen(populated=True)) == LeftOver(None)


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (
            seen(trainer=TrainerProcess.UNKNOWN, populated=None, doubtful=(7,)),
            "its supervising process is gone, but its trainer may still be running (process 7)",
        ),
        (
            seen(trainer=TrainerProcess.UNKNOWN, populated=False),
            "its supervising process is gone, but its trainer may still be running",
        ),
        (
            seen(populated=None, doubtful=(7, 8)),
            "its trainer has ended, but processes that may belong to it still run (processes 7, 8)",
        ),
        (
            seen(record=EXITED, populated=None, doubtful=(7,)),
            "its trainer has ended, but processes that may belong to it still run (process 7)",
        ),
        (
            seen(started=False, trainer=TrainerProcess.UNKNOWN, populated=True),
            "its supervising process is gone, and it is unknown whether a trainer runs",
        ),
        (seen(where=Where.ELSEWHERE), "it was started on another machine, which cannot be asked from here"),
    ],
)
def test_promise_4_a_job_whose_record_proves_nothing_is_lost(evidence: Evidence, why: str) -> None:
    assert conclude(evidence) == LostSight(why)


def final(conclusion: Conclusion) -> bool:
    """Whether the GPU is free after this conclusion."""
    return isinstance(conclusion, Exited | NeverStarted | Rebooted)


@pytest.mark.parametrize("evidence", EVERYTHING)
def test_every_combination_of_facts_has_a_safe_conclusion(evidence: Evidence) -> None:
    conclusion = conclude(evidence)
    here = evidence.where is Where.HERE
    ran = evidence.exit is not NEVER  # an attempt that never ran leaves nothing but its shim, which is about to exit
    if here and ran and (evidence.supervised or evidence.populated is not False):
        assert not final(conclusion), "something of it may run here"
    if here and evidence.started and evidence.exit is None and evidence.trainer is not TrainerProcess.ENDED:
        assert not final(conclusion), "its trainer may run here"
    if isinstance(conclusion, LeftOver):
        assert here, "what runs elsewhere is never stopped from here"
        assert evidence.exit is not None or evidence.trainer is TrainerProcess.ENDED, (
            "a trainer that may run is never stopped"
        )
    if evidence.where is Where.ELSEWHERE:
        assert isinstance(conclusion, LostSight), "it cannot be asked"
    if isinstance(conclusion, Exited | LeftOver):
        assert conclusion.exit is evidence.exit, "no code is invented, and none is lost"
    if isinstance(conclusion, NeverStarted):
        assert evidence.exit is NEVER or not evidence.started
    if isinstance(conclusion, Rebooted):
        assert evidence.where is Where.OTHER_BOOT
        assert evidence.exit is None
    if isinstance(conclusion, LostSight):
        assert conclusion.why
