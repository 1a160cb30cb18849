# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of `wait` and `watch`."""

import pytest

from fluxgym.errors import WIRE_ERRORS, ConfigInvalid, DaemonUnreachable, FluxgymError
from fluxgym.protocol.messages import Revision, State
from fluxgym.protocol.methods import WatchReply
from fluxgymctl import outcome
from tests.fluxgymctl.wire import job

REVISION = Revision(instance="i", number=1)
ENDS = {"completed": 0, "failed": 10, "stopped": 11, "lost": 12, "damaged": 13}


@pytest.mark.parametrize("state", list(State))
def test_each_state_has_its_documented_status_or_has_not_ended(state: State) -> None:
    reply = WatchReply(revision=REVISION, job=job(state=str(state)))
    assert outcome.of(reply) == ENDS.get(str(state))
    assert outcome.has_ended(state) == (str(state) in ENDS)


def test_a_removed_job_has_a_status_and_the_end_of_the_present_state_has_none() -> None:
    assert outcome.of(WatchReply(revision=REVISION, removed="a")) == 14
    assert outcome.of(WatchReply(revision=REVISION)) is None


def test_no_outcome_shares_its_status_with_an_error() -> None:
    classes: list[type[FluxgymError]] = [*WIRE_ERRORS.values(), DaemonUnreachable, ConfigInvalid]
    of_errors = {error.exit_status for error in classes}
    of_outcomes = {*outcome.STATUS.values(), outcome.REMOVED}
    assert len(of_outcomes) == len(outcome.STATUS) + 1
    assert of_outcomes & (of_errors | {1, 2, 130}) == set()


def test_the_help_lists_each_status() -> None:
    assert outcome.HELP == "0 completed, 10 failed, 11 stopped, 12 lost, 13 damaged, 14 removed"
