# SPDX-License-Identifier: Apache-2.0
"""The current verdict in words for people."""

import pytest

from fluxgym.protocol.messages import Phase
from fluxgymd.core.measures.span import span
from fluxgymd.core.watchdog.judge import judge
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.core.watchdog.signs import evidence
from fluxgymd.core.watchdog.trail import begin
from fluxgymd.core.watchdog.verdict import Healthy
from fluxgymd.core.watchdog.words import explain
from tests.core.watchdog.looking import BEGIN, INTERVAL, busy, gpu, look, trail
from tests.core.watchdog.usual import USUAL as LIMITS


def told(looks: list[Observation], *, later: float = 0.0) -> list[str]:
    made = trail(looks)
    return explain(made, LIMITS, judge(made, LIMITS), looks[-1].at + later)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0.4 s"),
        (1.23, "1.2 s"),
        (45, "45 s"),
        (60, "1 min"),
        (450, "7 min 30 s"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (-3, "0 s"),
    ],
)
def test_time_spans_are_written_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_words_say_that_no_look_has_happened_yet() -> None:
    assert explain(begin(LIMITS), LIMITS, Healthy(), BEGIN) == ["The watchdog has not looked at it yet."]


def test_a_healthy_training_is_described() -> None:
    looks = [
        look(n, step=n, total_steps=2500, activity=busy(n, cpu=0.9), gpus=(gpu(97, power_draw=412.0),))
        for n in range(11)
    ]
    assert told(looks, later=5) == [
        "It is making progress.",
        "It has been training for 5 min at step 10 of 2500.",
        "Last movement, 5 s ago: a step, its processor time, its GPU.",
        "If nothing changes, it will count as stuck in 5 min by the rule step (its limit is 5 min).",
        "Its processes used 90 % of a processor core in the last interval.",
        "They read and wrote 0.00 MiB/s in files.",
        "Its log did not grow.",
        "GPU 0: 97 % busy, 412 W.",
    ]


def test_a_suspicious_one_says_since_when_and_what_is_left() -> None:
    looks = [look(n, step=min(n, 10), activity=busy(n, cpu=1.0)) for n in range(17)]
    sentences = told(looks)
    assert sentences[0] == "Suspicious for 3 min: No step was finished for 3 min; the limit is 5 min."
    assert (
        sentences[3] == "If nothing changes, it will count as stuck in 2 min by the rule step (its limit is 5 min)."
    )
    assert sentences[2] == "Last movement, 0 s ago: its processor time."


def test_a_stuck_training_is_described() -> None:
    looks = [look(n, step=min(n, 10)) for n in range(25)]
    sentences = told(looks)
    assert sentences[0] == ("Stuck; its work stopped 7 min ago: No step was finished for 7 min; the limit is 5 min.")
    assert sentences[3].startswith("The limit step has been reached: ")


def test_a_program_is_described() -> None:
    sentences = told([look(0, phase=None, step=None), look(1, phase=None, step=None)])
    assert sentences[1] == "It does not report what it is doing; the watchdog checks only for a complete standstill."
    assert sentences[2] == "No movement has been seen yet."


def test_evidence_names_what_was_seen() -> None:
    seen = look(
        1,
        phase=Phase.SAMPLING,
        done=3,
        total_steps=500,
        memory_pressure=71.0,
        disk_free=5 << 20,
        activity=busy(
            1, blocked_threads=2, blocked_in="rpc_wait_bit_killable", stopped=True, frozen=True, swap=3 << 30
        ),
        gpus=(
            gpu(
                100, power_draw=120.4, power_limit=450.0, memory_used=20 << 30, temperature=80, throttled=("thermal",)
            ),
            gpu(None, index=1, uuid="GPU-1", lost=True),
            gpu(None, index=2, uuid="GPU-2"),
        ),
    )
    assert evidence(trail([look(0, phase=Phase.SAMPLING, done=3), seen])) == (
        "It is sampling at step 100 of 500, 3 done; no work was done for 30 s.",
        "Its processes used 0 % of a processor core in the last interval.",
        "They read and wrote 0.00 MiB/s in files.",
        "Its log did not grow.",
        "2 of 8 threads are waiting in the kernel in rpc_wait_bit_killable (state D).",
        "Its process is stopped by a signal (state T).",
        "Its cgroup is frozen.",
        "GPU 0: 100 % busy, 120 of 450 W, 20480 MiB used, 80 °C, slowed down (thermal).",
        "GPU 1 is lost: the driver cannot reach it.",
        "GPU 2 reports nothing.",
        "All of its tasks wait for memory 71 % of the time.",
        "3072 MiB of its memory are swapped out.",
        "Only 5 MiB are free on its disk.",
    )


def test_unknown_facts_are_said_to_be_unknown() -> None:
    sentences = evidence(trail([look(0), look(1, activity=None, gpus=None)]))
    assert "It is unknown what its processes are doing." in sentences
    assert "The state of its GPU is unknown: NVML does not answer." in sentences
    assert not any("GPU" in sentence for sentence in evidence(trail([look(0), look(INTERVAL, gpus=())])))


def test_progress_that_is_not_known_is_said_to_be_and_names_no_limit_that_stands_still() -> None:
    why = "training.log is missing"
    seen = [look(0), look(1)]
    seen += [look(n, told=False, untold_why=why, log_bytes=0, activity=busy(n, cpu=1.0)) for n in range(2, 9)]
    sentences = told(seen)
    assert sentences[0] == f"Suspicious for 3 min: Its progress is unknown: {why}."
    assert not any("by the rule step" in one or "by the rule progress" in one for one in sentences)
    assert not any("Its log" in one for one in sentences), "nothing can be said of a log that is not there"
    nothing_read = [look(n, phase=None, step=None, told=False, untold_why=why) for n in range(3)]
    assert told(nothing_read)[1] == (
        f"Its progress is unknown because {why}; the watchdog checks only for a complete standstill."
    )


def test_repeated_steps_are_mentioned() -> None:
    looks = [look(n, step=n % 8, total_steps=500) for n in range(20)]
    sentences = told(looks)
    assert sentences[0] == "Stuck; its work stopped 6 min ago: No step was finished for 6 min; the limit is 5 min."
    assert sentences[1] == (
        "It has been training for 9 min 30 s at step 7 of 500; it is repeating steps that it has already done."
    )
    (work, *_) = evidence(trail(looks))
    assert work.endswith("It is repeating steps that it has already done.")
