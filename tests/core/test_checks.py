# SPDX-License-Identifier: Apache-2.0
"""The checks of a machine: which facts are good, and which are a warning or a problem."""

import pytest

from fluxgym.protocol.machine_messages import CheckOutcome, CheckResult, Linger
from fluxgymd.core import checks

GOOD, WARNING, PROBLEM = CheckOutcome.GOOD, CheckOutcome.WARNING, CheckOutcome.PROBLEM


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (checks.gpu(["NVIDIA H200"], None, uncertain=False), GOOD),
        (checks.gpu([], "There is no NVIDIA driver.", uncertain=False), WARNING),
        (checks.gpu([], None, uncertain=False), WARNING),
        (checks.gpu([], "NVML did not answer within 15 s.", uncertain=True), PROBLEM),
        (checks.gpu(["NVIDIA H200"] * 2, "GPU 0 is lost.", uncertain=False), PROBLEM),
        (checks.supervisor("scope", "The user's systemd answers.", None), GOOD),
        (checks.supervisor("process", "There is no user manager.", None), WARNING),
        (checks.supervisor("scope", "The user's systemd answers.", "It does not answer."), PROBLEM),
        (checks.linger(Linger.ENABLED, "scope"), GOOD),
        (checks.linger(Linger.DISABLED, "scope"), WARNING),
        (checks.linger(Linger.DISABLED, "process"), GOOD),
        (checks.linger(Linger.UNKNOWN, "scope"), GOOD),
        (checks.disk("/home", free=checks.LOW_BYTES, trouble=None), GOOD),
        (checks.disk("/home", free=checks.LOW_BYTES - 1, trouble=None), WARNING),
        (checks.disk("/home", free=0, trouble="The disk of /home is full."), PROBLEM),
        (checks.trainer("/trainer", 200), GOOD),
        (checks.trainer("/trainer", 0), PROBLEM),
    ],
)
def test_each_fact_has_an_outcome_and_each_problem_a_remedy(result: CheckResult, outcome: CheckOutcome) -> None:
    assert result.outcome is outcome
    assert result.text.endswith((".", "log."))
    assert (outcome is GOOD) == (result.remedy is None and result.command is None)


def test_what_the_daemon_reports_is_not_repeated() -> None:
    (healthy,) = checks.health([], told=frozenset())
    assert healthy.outcome is GOOD
    told = checks.health(["The disk is full.", "Lost jobs: a."], told=frozenset({"The disk is full."}))
    assert [(one.outcome, one.text) for one in told] == [(PROBLEM, "Lost jobs: a.")]
