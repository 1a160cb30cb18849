# SPDX-License-Identifier: Apache-2.0
"""What clients are shown of the watchdog, for each state of a job and each verdict that the watchdog may have
reached."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fluxgym import config
from fluxgym.protocol.messages import Phase, Verdict, WatchdogMode
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import fold
from fluxgymd.core.journal.events import AnyEvent
from fluxgymd.core.watchdog.judge import judge
from fluxgymd.core.watchdog.verdict import Healthy, Suspicious
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.judgement import explained, judgement, readings
from fluxgymd.jobs.view import show
from fluxgymd.store.home import JobFolder
from fluxgymd.store.journal import Journal
from tests.core import histories as h
from tests.core.watchdog.looking import look, trail
from tests.core.watchdog.usual import USUAL

FOLDER = JobFolder(Path("/home/outputs/my-lora"))
SETTINGS = config.load({"HOME": "/nonexistent"})
OFF = config.load({"HOME": "/nonexistent", "FLUXGYM_WATCHDOG_MODE": "off"})
READING = Reading(index=0, uuid="GPU-1", name="H200", utilization=93, power_draw=280.0)
DOUBT = Suspicious(why="Nothing moved.", since=3.0)


def entry(history: Sequence[AnyEvent], **facts: Any) -> Entry:
    made = Entry(FOLDER, fold(history), Journal(FOLDER.journal, 0))
    for name, value in facts.items():
        setattr(made if name == "damage" else made.now, name, value)
    return made


def test_the_verdict_on_a_running_job_is_shown() -> None:
    running = entry(h.WAYS["running"], verdict=DOUBT)
    told = show(running).runtime.watchdog
    assert told is not None
    assert (told.verdict, told.why, told.since) == (Verdict.SUSPICIOUS, "Nothing moved.", 3.0)
    assert show(entry(h.WAYS["running"])).runtime.watchdog is None


@pytest.mark.parametrize("way", ["queued", "stopping", "lost", "completed", "interrupted"])
def test_a_verdict_on_what_is_over_is_not_shown(way: str) -> None:
    assert judgement(entry(h.WAYS[way], verdict=DOUBT)) is None
    assert judgement(entry(h.WAYS["running"], verdict=DOUBT, damage="its journal ends nowhere")) is None


def test_a_hang_that_is_acted_on_is_known_without_a_look() -> None:
    found = entry([*h.WAYS["running"], h.stuck()])
    told = judgement(found)
    assert told is not None
    assert (told.verdict, told.why, told.since) == (Verdict.STUCK, "Nothing moved for 600 s.", 3.0)
    reply = explained(found, SETTINGS, now=10.0)
    assert (reply.verdict, reply.limits) == (Verdict.STUCK, [])
    assert reply.explanation == [
        "The watchdog found it stuck, so it is being stopped.",
        "Nothing moved for 600 s.",
        "The last line of its log was written 610 s ago.",
    ]


def test_gpus_are_shown_while_a_job_runs_and_unknown_is_not_none() -> None:
    (shown,) = readings(entry(h.WAYS["running"], gpus=(READING,))) or []
    assert (shown.utilization, shown.power_draw, shown.temperature, shown.lost) == (93, 280.0, None, False)
    assert readings(entry(h.WAYS["running"])) is None
    assert readings(entry([h.submitted(), h.reserved(gpus=()), h.spawned(), h.placed(), h.started()])) == []
    assert readings(entry(h.WAYS["completed"], gpus=(READING,))) is None


def test_the_verdict_is_explained_with_the_limits_that_count() -> None:
    seen = trail([look(n, step=min(n, 10)) for n in range(17)])
    reply = explained(
        entry(h.WAYS["running"], trail=seen, verdict=judge(seen, USUAL)),
        SETTINGS,
        now=seen.last.at if seen.last else 0,
    )
    assert (reply.mode, reply.verdict, reply.phase) == (WatchdogMode.ACT, Verdict.SUSPICIOUS, Phase.TRAINING)
    assert reply.why is not None
    assert reply.explanation[0] == f"Suspicious for 3 min: {reply.why}"
    lefts = [limit.left for limit in reply.limits]
    assert lefts == sorted(lefts)
    first = reply.limits[0]
    assert (first.rule, first.what, first.limit, first.left) == ("step", "No step was finished.", 300.0, 120.0)


@pytest.mark.parametrize(
    ("made", "settings", "why"),
    [
        (entry(h.WAYS["queued"]), SETTINGS, "It is waiting to start."),
        (entry(h.WAYS["running"]), SETTINGS, "The watchdog has not looked at it yet."),
        (entry(h.WAYS["running"]), OFF, "Its watchdog is off."),
        (entry(h.WAYS["completed"]), OFF, "It is no longer running."),
        (
            entry(h.WAYS["running"], damage="x", verdict=Healthy()),
            SETTINGS,
            "Its journal is damaged, so its state is unknown.",
        ),
    ],
)
def test_an_unwatched_job_says_why(made: Entry, settings: config.Config, why: str) -> None:
    reply = explained(made, settings, now=0.0)
    assert (reply.verdict, reply.why, reply.explanation, reply.limits) == (Verdict.NOT_WATCHED, why, [], [])
