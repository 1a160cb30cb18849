# SPDX-License-Identifier: Apache-2.0
"""The watchdog's verdict in words: `watchdog`, and what `status`, `watch` and `list` report about it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.protocol.methods import WatchdogReply
from fluxgymctl.prose import jobs, words
from fluxgymctl.verbs import list as list_verb
from fluxgymctl.verbs import status, watchdog
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl
from tests.fluxgymctl.programs import submit, until_there
from tests.fluxgymctl.wire import NOW, attempt, job, progress
from tests.fluxgymctl.wire import gpu as card

DOUBT = {"verdict": "suspicious", "why": "Nothing moved at all.", "since": NOW - 300}


def reply(**facts: Any) -> WatchdogReply:
    whole = {"mode": "act", "verdict": "healthy", "explanation": ["It is making progress."], "limits": [], **facts}
    return msgspec.convert(whole, WatchdogReply)


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        (
            {},
            [
                "a is healthy.",
                "It is making progress.",
                "If it hangs, the hang is reported, evidence is saved, and the job is stopped and resumed.",
            ],
        ),
        (
            {"mode": "off", "verdict": "not_watched", "why": "Its watchdog is off.", "explanation": []},
            ["a is not watched: Its watchdog is off."],
        ),
        (
            {"mode": "warn", "verdict": "not_watched", "why": "It is being stopped.", "explanation": []},
            [
                "a is not watched: It is being stopped.",
                "If it hangs, the hang is reported and the job is left alone.",
            ],
        ),
        (
            {
                "mode": "off",
                "verdict": "not_watched",
                "why": "Its watchdog is off.",
                "explanation": [],
                "until": NOW + 2 * 86400,
                "then": "act",
            },
            [
                "a is not watched: Its watchdog is off.",
                f"Its mode is off until {words.moment(NOW + 2 * 86400, now=NOW)}, then act.",
            ],
        ),
        (
            {"mode": "bark", "verdict": "sleepy", "why": "It is night.", "explanation": []},
            ["a is unknown.", "It is night.", "This version does not know what the daemon does about a hang."],
        ),
    ],
    ids=["healthy", "off", "off for a time", "not watched at present", "of a newer daemon"],
)
def test_the_verdict_comes_first_and_then_one_sentence_per_line(facts: dict[str, Any], lines: list[str]) -> None:
    assert watchdog.lines("a", reply(**facts), now=NOW) == lines


def test_a_verdict_says_since_when() -> None:
    first = watchdog.lines("a", reply(verdict="stuck", since=NOW - 60), now=NOW)[0]
    assert first.startswith("a is stuck since ")


def test_the_limits_say_what_is_left() -> None:
    limits = [
        {"rule": "step", "what": "No step was finished.", "limit": 300.0, "left": -2.0},
        {"rule": "still", "what": "Nothing moved at all.", "limit": 600.0, "left": 590.0},
    ]
    assert watchdog.rows(reply(limits=limits)) == [
        ("step", "over", "5 min", "No step was finished."),
        ("still", "10 min", "10 min", "Nothing moved at all."),
    ]


def test_status_shows_the_verdict_and_its_reason() -> None:
    found = dict(status.facts(job(watchdog=DOUBT), now=NOW))
    assert found["Watchdog"].startswith("suspicious since ")
    assert found["Watchdog"].endswith("(5 min ago): Nothing moved at all.")
    assert dict(status.facts(job(watchdog={"verdict": "healthy"}), now=NOW))["Watchdog"] == "healthy"
    assert "Watchdog" not in dict(status.facts(job(), now=NOW))


def test_the_live_line_shows_the_verdict_and_the_gpu_where_there_is_room() -> None:
    told = progress(step=120, totalSteps=400, loss=0.5, secondsPerStep=1.5, remainingSeconds=420.0)
    running: dict[str, Any] = {"progress": told, "attempt": attempt(gpus=["GPU-a"]), "gpus": [card()]}
    healthy = job(watchdog={"verdict": "healthy"}, **running)
    assert jobs.live_line(healthy) == (
        "a  training  healthy  step 120/400 30%  loss 0.5000  1.50 s/step  ETA 7 min  GPU 93%  20.0 GiB  71 C  280 W"
    )
    assert jobs.live_line(healthy, width=76) == (
        "a  training  step 120/400 30%  loss 0.5000  1.50 s/step  ETA 7 min  GPU 93%"
    )
    assert jobs.live_line(job(watchdog=DOUBT, **running), width=50) == ("a  training  suspicious  step 120/400 30%")


def test_a_stuck_job_has_neither_speed_nor_eta() -> None:
    told = progress(step=120, totalSteps=400, secondsPerStep=1.5, remainingSeconds=420.0)
    stuck = job(progress=told, watchdog={"verdict": "stuck", "why": "No step was finished."})
    assert jobs.live_line(stuck) == "a  training  stuck  step 120/400 30%"
    found = dict(status.facts(stuck, now=NOW))
    assert (found["Phase"], found["Watchdog"]) == ("training", "stuck: No step was finished.")
    assert not {"Speed", "Time left"} & set(found)


def test_another_verdict_is_worth_a_line_and_a_warmer_gpu_is_not() -> None:
    before = job(watchdog={"verdict": "healthy"}, gpus=[card()])
    assert jobs.worth_a_line(before, job(watchdog=DOUBT, gpus=[card()]))
    assert not jobs.worth_a_line(before, job(watchdog={"verdict": "healthy"}, gpus=[card(temperature=80)]))


def test_list_shows_the_doubts_about_a_running_job() -> None:
    (row,) = list_verb.rows([job(watchdog=DOUBT)], now=NOW)
    assert row[-1] == "suspicious: Nothing moved at all."
    (row,) = list_verb.rows([job(watchdog=DOUBT, reason="R.")], now=NOW)
    assert row[-1] == "R."
    (row,) = list_verb.rows([job(watchdog={"verdict": "healthy"})], now=NOW)
    assert row[-1] == "-"


def test_the_mode_is_set_for_a_time_and_shown(daemon: RunningDaemon, tmp_path: Path) -> None:
    submit(daemon, "my-job", script=until_there(tmp_path / "end"))
    done = ctl("watchdog", "my-job", "--mode", "warn", "--for", "1h", socket=daemon.socket)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"fluxgymctl: The watchdog of my-job is set to warn until [-0-9: ]+\.\n", done.stderr)
    shown = ctl("watchdog", "my-job", socket=daemon.socket).stdout
    assert re.search(r"^Its mode is warn until [-0-9: ]+, then off\.$", shown, re.MULTILINE), shown
    assert "set to warn for 1 h" in ctl("history", "my-job", socket=daemon.socket).stdout
    (tmp_path / "end").touch()


@pytest.mark.parametrize(
    "words_given",
    [["--for", "1h"], ["--mode", "off", "--for", "1h", "--until", "12:00"], ["--mode", "off", "--until", "noon"]],
)
def test_a_mode_that_makes_no_sense_is_refused(words_given: list[str]) -> None:
    done = ctl("watchdog", "my-job", *words_given, socket=Path("/nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
