# SPDX-License-Identifier: Apache-2.0
"""What is started next: the order of the queue, one GPU for one job, one job on a machine without a GPU."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgymd.core.job import Job, Waiting, fold
from fluxgymd.core.schedule import Start, choose
from tests.core import histories as h


def waiting(name: str, *, priority: int = 0, rank: float = 1.0, job_id: str = "0" * 32) -> Job:
    return fold([h.submitted(name=name, priority=priority, rank=rank, job_id=job_id)])


def names(starts: list[Start]) -> list[str]:
    return [start.job for start in starts]


@pytest.mark.parametrize(
    ("jobs", "order"),
    [
        ([waiting("b", rank=2), waiting("a", rank=1)], ["a", "b"]),
        ([waiting("a", rank=1), waiting("urgent", rank=9, priority=1)], ["urgent", "a"]),
        ([waiting("a", rank=1), waiting("some-day", rank=0, priority=-1)], ["a", "some-day"]),
        # Two submits in one instant: the order is the same at every look.
        ([waiting("a", job_id="f" * 32), waiting("b", job_id="e" * 32)], ["b", "a"]),
        ([waiting("b", job_id="e" * 32), waiting("a", job_id="f" * 32)], ["b", "a"]),
        ([], []),
    ],
)
def test_the_queue_is_ordered_by_priority_and_then_rank(jobs: list[Job], order: list[str]) -> None:
    assert names(choose(jobs, [], ["GPU-1", "GPU-2"])) == order


def test_the_best_job_gets_the_first_free_gpu() -> None:
    jobs = [waiting("second", rank=2), waiting("first", rank=1), waiting("third", rank=3)]
    assert choose(jobs, [("GPU-2",)], ["GPU-1", "GPU-2", "GPU-3"]) == [
        Start("first", ("GPU-1",)),
        Start("second", ("GPU-3",)),
    ]


@pytest.mark.parametrize("way", sorted(h.WAYS.keys() - {"nothing"}))
def test_only_a_job_that_waits_is_started(way: str) -> None:
    job = fold(h.WAYS[way])
    assert names(choose([job], [], ["GPU-1"])) == (["my-lora"] if isinstance(job.state, Waiting) else [])


def test_without_a_gpu_there_is_one_slot() -> None:
    assert choose([waiting("a"), waiting("b", rank=2)], [], []) == [Start("a", ())]


@pytest.mark.parametrize("lease", [(), ("GPU-1",)])
def test_the_slot_of_the_cpu_is_taken_by_any_lease(lease: tuple[str, ...]) -> None:
    assert choose([waiting("a")], [lease], []) == []


@pytest.mark.parametrize("way", ["starting", "running", "stopping", "lost", "lost while stopping"])
def test_promise_4_what_a_live_or_lost_job_holds_is_not_given_away(way: str) -> None:
    lease = fold(h.WAYS[way]).lease
    assert lease is not None
    assert choose([waiting("next")], [lease], ["GPU-1"]) == []


gpu_names = st.sampled_from(["GPU-1", "GPU-2", "GPU-3", "GPU-4"])


@settings(deadline=None)  # no test depends on a time
@given(
    jobs=st.lists(
        st.builds(
            waiting,
            st.uuids().map(str),
            priority=st.integers(-2, 2),
            rank=st.floats(0, 3),
            job_id=st.uuids().map(lambda identity: identity.hex),
        ),
        max_size=8,
    ),
    held=st.lists(st.lists(gpu_names, max_size=2, unique=True).map(tuple), max_size=3),
    gpus=st.lists(gpu_names, max_size=4),
)
def test_promise_4_no_gpu_is_given_twice(jobs: list[Job], held: list[tuple[str, ...]], gpus: list[str]) -> None:
    starts = choose(jobs, held, gpus)
    given_away = [gpu for start in starts for gpu in start.gpus]
    taken = {gpu for lease in held for gpu in lease}
    assert len(given_away) == len(set(given_away))
    assert set(given_away) <= set(gpus) - taken
    assert len(starts) == min(len(jobs), len(set(gpus) - taken) if gpus else int(not held))
    # Nobody who waits stands before one who was started.
    by_name = {job.name: job for job in jobs}
    left = by_name.keys() - set(names(starts))
    for start in starts:
        key = (-by_name[start.job].priority, by_name[start.job].rank)
        assert all(key <= (-by_name[name].priority, by_name[name].rank) for name in left)
