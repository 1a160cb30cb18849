# SPDX-License-Identifier: Apache-2.0
"""systemd's jobs, for each order in which the reply and the signal can arrive."""

from __future__ import annotations

from fluxgymd.host.bus_jobs import EARLY_RESULTS, BusJobs


def test_a_result_reaches_its_waiter_in_either_order() -> None:
    jobs, seen = BusJobs(), list[str | None]()
    jobs.wait("/job/1", seen.append)
    jobs.removed("/job/1", "done")
    jobs.removed("/job/2", "failed")
    jobs.wait("/job/2", seen.append)
    assert seen == ["done", "failed"]


def test_results_of_others_are_kept_within_a_bound() -> None:
    jobs, seen = BusJobs(), list[str | None]()
    for number in range(EARLY_RESULTS + 1):
        jobs.removed(f"/job/{number}", "done")
    jobs.wait("/job/0", seen.append)
    assert seen == [], "the oldest was dropped: who waits for it has a deadline"
    jobs.wait("/job/1", seen.append)
    assert seen == ["done"]


def test_a_waiter_learns_that_no_result_will_come() -> None:
    jobs, seen = BusJobs(), list[str | None]()
    jobs.wait("/job/1", seen.append)
    jobs.removed("/job/2", "done")
    jobs.give_up()
    assert seen == [None]
    jobs.wait("/job/2", seen.append)
    assert seen == [None], "another manager's job has the same path"
