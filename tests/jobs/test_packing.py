# SPDX-License-Identifier: Apache-2.0
"""A job that is over is kept packed in memory, which callers do not notice."""

import pytest

from fluxgymd.core.job import Final, Job, fold
from fluxgymd.jobs.packing import Packer, job_of, keep
from tests.core import histories as h

WAYS = [way for way, history in h.WAYS.items() if history]
OVER = [way for way in WAYS if isinstance(fold(h.WAYS[way]).state, Final)]


@pytest.mark.parametrize("way", WAYS)
def test_a_packed_job_is_unpacked_unchanged(way: str) -> None:
    packer = Packer()
    packer.pack(fold([h.submitted(name="another")]))  # its bytes become the compression dictionary
    job = fold(h.WAYS[way])
    assert packer.unpack(packer.pack(job)) == job


@pytest.mark.parametrize("way", WAYS)
def test_only_ended_jobs_are_packed(way: str) -> None:
    job = fold(h.WAYS[way])
    assert isinstance(keep(job), bytes if way in OVER else Job)
    assert job_of(keep(job)) == job


def test_a_missing_job_stays_missing() -> None:
    assert job_of(keep(None)) is None


def test_similar_jobs_are_packed_small() -> None:
    packer = Packer()
    words = "x" * 1000  # stands for what the jobs of one home share: paths, options, prompts
    jobs = [fold([h.submitted(name=f"job-{n}-{words}", job_id=f"{n * 7919:032x}"), h.CANCELLED]) for n in range(20)]
    sizes = [len(packer.pack(job)) for job in jobs]
    assert max(sizes) < 100
