# SPDX-License-Identifier: Apache-2.0
"""Decides how long removed jobs are kept, such that a wrong clock deletes nothing early. Pure.

The wall clock alone is not enough: a clock that is a year ahead for a minute would empty the trash. So the daemon
adds up, for each job, the time between its looks, and counts at most DAY for each. As a result, a machine that is off
for weeks keeps its trash for longer.
"""

from collections.abc import Mapping

from fluxgymd.core.journal.records import Record

DAY = 86400.0


class Ages(Record, frozen=True, kw_only=True):
    """How long the jobs in the trash have been there, as of the last look. Stored in a file."""

    looked: float
    """The time of that look (wall clock)."""
    kept: dict[str, float]
    """Seconds, by the name of the job's folder in the trash."""


def aged(ages: Ages | None, removed_at: Mapping[str, float], now: float) -> Ages:
    """The ages at `now`. `removed_at`: what is in the trash now, with the time of its removal (wall clock). If `ages`
    were lost, at most a day is counted."""
    passed = DAY if ages is None else min(max(0.0, now - ages.looked), DAY)
    before = {} if ages is None else ages.kept
    return Ages(
        looked=now,
        kept={
            name: before[name] + passed if name in before else min(passed, max(0.0, now - at))
            for name, at in removed_at.items()
        },
    )


def expired(ages: Ages, days: float) -> list[str]:
    """The jobs that have been in the trash for this many days."""
    return [name for name, kept in ages.kept.items() if kept >= days * DAY]


def delete_at(ages: Ages, name: str, days: float) -> float:
    """When it will be deleted (wall clock), if the daemon looks again by then."""
    return ages.looked + max(0.0, days * DAY - ages.kept[name])
