# SPDX-License-Identifier: Apache-2.0
"""Which jobs have changed since a revision. A slow watcher gets fewer reports, but never wrong ones, and costs no
memory."""

import asyncio

import pytest

from fluxgym.protocol.messages import Revision
from fluxgymd.jobs.changes import REMOVED_KEPT, Changes
from tests.harness.waiting import DEADLINE_SECONDS


def since(changes: Changes, number: int) -> tuple[list[str], list[str]]:
    assert changes.knows(Revision(instance=changes.instance, number=number))
    return changes.since(number)


def test_changes_are_reported_oldest_first() -> None:
    changes = Changes()
    changes.changed("a")
    changes.changed("b")
    assert changes.revision == Revision(instance=changes.instance, number=2)
    assert since(changes, 0) == (["a", "b"], [])
    assert since(changes, 1) == (["b"], [])
    assert since(changes, 2) == ([], [])


def test_many_changes_of_one_job_are_one() -> None:
    changes = Changes()
    changes.changed("a")
    changes.changed("b")
    for _ in range(1000):
        changes.changed("a")
    assert since(changes, 0) == (["b", "a"], [])
    assert since(changes, 2) == (["a"], [])


def test_a_removed_job_is_reported_only_as_removed() -> None:
    changes = Changes()
    changes.changed("a")
    changes.removed("a")
    assert since(changes, 0) == ([], ["a"])
    changes.changed("a")  # a new job with that name
    assert since(changes, 0) == (["a"], [])
    assert since(changes, 2) == (["a"], [])


def test_a_watcher_that_was_away_too_long_gets_everything_again() -> None:
    changes = Changes()
    for number in range(REMOVED_KEPT + 1):
        changes.removed(f"job-{number}")
    assert not changes.knows(Revision(instance=changes.instance, number=0))
    assert len(since(changes, 1)[1]) == REMOVED_KEPT
    assert since(changes, 1)[1][0] == "job-1"


@pytest.mark.parametrize("number", [-1, 2, 10**30])
def test_a_revision_that_never_existed_is_unknown(number: int) -> None:
    changes = Changes()
    changes.changed("a")
    assert not changes.knows(Revision(instance=changes.instance, number=number))


def test_the_revisions_of_another_daemon_are_unknown() -> None:
    first, second = Changes(), Changes()
    assert first.instance != second.instance
    assert not second.knows(first.revision)


def test_a_watcher_waits_for_the_next_change_only() -> None:
    async def scenario() -> None:
        changes = Changes()
        changes.changed("a")
        await changes.wait(0)  # returns at once, because there was a change
        waiting = [asyncio.create_task(changes.wait(1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        changes.removed("a")
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*waiting)
            later = asyncio.create_task(changes.wait(3))
            changes.changed("b")
            changes.changed("b")
            await later

    asyncio.run(scenario())
