# SPDX-License-Identifier: Apache-2.0
"""Which jobs have changed since a revision. A slow watcher gets fewer reports, but never wrong ones, and costs no
memory."""

import asyncio

import pytest

from fluxgym.messages import Revision
from fluxgymd.jobs.subscribers import REMOVED_KEPT, Hub
from tests.harness.waiting import DEADLINE_SECONDS


def since(hub: Hub, number: int) -> tuple[list[str], list[str]]:
    assert hub.knows(Revision(instance=hub.instance, number=number))
    return hub.since(number)


def test_what_changed_is_told_oldest_first() -> None:
    hub = Hub()
    hub.changed("a")
    hub.changed("b")
    assert hub.revision == Revision(instance=hub.instance, number=2)
    assert since(hub, 0) == (["a", "b"], [])
    assert since(hub, 1) == (["b"], [])
    assert since(hub, 2) == ([], [])


def test_many_changes_of_one_job_are_one() -> None:
    hub = Hub()
    hub.changed("a")
    hub.changed("b")
    for _ in range(1000):
        hub.changed("a")
    assert since(hub, 0) == (["b", "a"], [])
    assert since(hub, 2) == (["a"], [])


def test_a_removed_job_is_told_as_removed_only() -> None:
    hub = Hub()
    hub.changed("a")
    hub.removed("a")
    assert since(hub, 0) == ([], ["a"])
    hub.changed("a")  # a new job with that name
    assert since(hub, 0) == (["a"], [])
    assert since(hub, 2) == (["a"], [])


def test_who_was_away_too_long_is_told_everything_again() -> None:
    hub = Hub()
    for number in range(REMOVED_KEPT + 1):
        hub.removed(f"job-{number}")
    assert not hub.knows(Revision(instance=hub.instance, number=0))
    assert len(since(hub, 1)[1]) == REMOVED_KEPT
    assert since(hub, 1)[1][0] == "job-1"


@pytest.mark.parametrize("number", [-1, 2, 10**30])
def test_a_revision_that_never_was_is_not_known(number: int) -> None:
    hub = Hub()
    hub.changed("a")
    assert not hub.knows(Revision(instance=hub.instance, number=number))


def test_the_revisions_of_another_daemon_are_not_known() -> None:
    first, second = Hub(), Hub()
    assert first.instance != second.instance
    assert not second.knows(first.revision)


def test_a_watcher_waits_for_the_next_change_only() -> None:
    async def scenario() -> None:
        hub = Hub()
        hub.changed("a")
        await hub.wait(0)  # returns at once, because there was a change
        waiting = [asyncio.create_task(hub.wait(1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        hub.removed("a")
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*waiting)
            later = asyncio.create_task(hub.wait(3))
            hub.changed("b")
            hub.changed("b")
            await later

    asyncio.run(scenario())
