# SPDX-License-Identifier: Apache-2.0
"""Which job starts next, on which GPU, and why the others wait: the order of the queue, one job per GPU, no
starvation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.protocol.messages import Kind, WaitingFor
from fluxgymd.core.damage import EVERYTHING
from fluxgymd.core.job import Job, Live, Waiting, apply, fold
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.records import MOST
from fluxgymd.core.restart import PAUSES
from fluxgymd.core.schedule import (
    CPU_TAKEN,
    START_PAUSES,
    Decision,
    Machine,
    Start,
    Wait,
    allowed_gpus,
    decide,
    due,
    last_rank,
    make_room,
    place_at,
    queue,
)
from tests.core import histories as h

NOW = 1000.0
ELSEWHERE = msgspec.structs.replace(h.PLACE, machine_id="e" * 32)


def waiting(name: str, *, priority: int = 0, rank: float = 1.0, job_id: str = "0" * 32, **settings: Any) -> Job:
    submit = h.submitted(name=name, priority=priority, rank=rank, job_id=job_id)
    return fold([msgspec.structs.replace(submit, context=msgspec.structs.replace(submit.context, **settings))])


def program(name: str, **settings: Any) -> Job:
    return waiting(name, kind=Kind.PROGRAM, **settings)


def started(job: Job, *gpus: str, **place: Any) -> Job:
    reservation = msgspec.structs.replace(h.reserved(job.attempts + 1, gpus=gpus), **place)
    return apply(job, reservation)


def machine(*gpus: str, **facts: Any) -> Machine:
    usual: dict[str, Any] = {"program_slots": 2, "paused": False, "problem": None}
    return Machine(machine_id=h.PLACE.machine_id, gpus=gpus, **usual | facts)


def decided(jobs: Sequence[Job], on: Machine, now: float = NOW) -> list[Decision]:
    programs = frozenset(job.name for job in jobs if not is_training(job))
    return decide({job.name: job for job in jobs}, replace(on, programs=programs), now)


def is_training(job: Job) -> bool:
    return job.context.kind is not Kind.PROGRAM


def starts(decisions: Sequence[Decision]) -> dict[str, tuple[str, ...]]:
    return {decision.job: decision.gpus for decision in decisions if isinstance(decision, Start)}


def waits(decisions: Sequence[Decision]) -> dict[str, WaitingFor]:
    return {decision.job: decision.reason for decision in decisions if isinstance(decision, Wait)}


@pytest.mark.parametrize(
    ("jobs", "order"),
    [
        ([waiting("b", rank=2), waiting("a", rank=1)], ["a", "b"]),
        ([waiting("a", rank=1), waiting("urgent", rank=9, priority=1)], ["urgent", "a"]),
        ([waiting("a", rank=1), waiting("some-day", rank=0, priority=-1)], ["a", "some-day"]),
        # Submitted at the same instant: the order is the same each time.
        ([waiting("a", job_id="f" * 32), waiting("b", job_id="e" * 32)], ["b", "a"]),
        ([waiting("b", job_id="e" * 32), waiting("a", job_id="f" * 32)], ["b", "a"]),
        ([started(waiting("runs"), "GPU-1"), waiting("waits")], ["waits"]),
        ([], []),
    ],
)
def test_the_queue_is_ordered_by_priority_and_then_rank(jobs: list[Job], order: list[str]) -> None:
    assert [job.name for job in queue(jobs)] == order


def test_the_best_job_gets_the_first_free_gpu() -> None:
    jobs = [
        waiting("second", rank=2),
        waiting("first", rank=1),
        waiting("third", rank=3),
        started(waiting("runs"), "GPU-2"),
    ]
    assert decided(jobs, machine("GPU-1", "GPU-2", "GPU-3")) == [
        Start("first", ("GPU-1",)),
        Start("second", ("GPU-3",)),
        Wait("third", WaitingFor.GPU),
    ]


@pytest.mark.parametrize("way", sorted(h.WAYS.keys() - {"nothing"}))
def test_only_a_job_that_waits_is_started(way: str) -> None:
    job = fold(h.WAYS[way])
    may = isinstance(job.state, Waiting) and not job.held
    assert list(starts(decided([job], machine("GPU-1", "GPU-2")))) == (["my-lora"] if may else [])


@pytest.mark.parametrize("way", ["starting", "running", "stopping", "stopping later", "lost", "lost while stopping"])
@pytest.mark.parametrize("gpus", [("GPU-1",), ()])
def test_promise_4_gpus_of_a_live_or_lost_job_are_not_given_away(way: str, gpus: tuple[str, ...]) -> None:
    job = fold([h.reserved(gpus=gpus) if isinstance(event, e.Reserved) else event for event in h.WAYS[way]])
    assert waits(decided([job, waiting("next")], machine(*gpus))) == {"next": WaitingFor.GPU}


@pytest.mark.parametrize("gpus", [("GPU-1",), ()])
def test_promise_4_gpus_that_a_damaged_job_may_hold_are_not_given_away(gpus: tuple[str, ...]) -> None:
    assert waits(decided([waiting("next")], machine(*gpus, held={"broken": gpus}))) == {"next": WaitingFor.GPU}


def kept(what: str, names: str) -> str:
    which = f"{names}; `fluxgymctl status broken` says what to do"
    return f"These jobs keep {what} reserved until their journals are repaired: {which}."


@pytest.mark.parametrize("gpus", [("GPU-1", "GPU-2"), ()])
def test_promise_4_if_the_gpus_of_a_damaged_job_are_unknown_none_is_given_away(
    gpus: tuple[str, ...],
) -> None:
    on = machine(*gpus, held={"broken": EVERYTHING})
    [wait] = decided([waiting("next")], on)
    what = "GPUs" if gpus else "the CPU"
    assert wait == Wait("next", WaitingFor.GPU, kept(what, "broken"))


def test_promise_4_a_job_that_waits_is_told_which_damaged_job_keeps_its_gpu() -> None:
    on = machine("GPU-1", "GPU-2", held={"broken": ("GPU-1",), "other": ("GPU-2",), "far": ("GPU-9",), "cpu": ()})
    wants_first, wants_any = waiting("a", gpus=["0"]), waiting("b", rank=2.0)
    told = [decision.detail for decision in decided([wants_first, wants_any], on) if isinstance(decision, Wait)]
    assert told == [
        kept("GPUs", "broken"),
        kept("GPUs", "broken, other"),
    ]


@pytest.mark.parametrize("gpus", [("GPU-1",), ()])
def test_promise_4_a_start_that_is_not_yet_in_the_journal_holds_its_gpus(gpus: tuple[str, ...]) -> None:
    jobs = [waiting("first"), waiting("next", rank=2)]
    assert waits(decided(jobs, machine(*gpus, starting={"first": gpus}))) == {"next": WaitingFor.GPU}


class TestWithoutAGpu:
    def test_there_is_one_slot_for_trainings(self) -> None:
        assert decided([waiting("a"), waiting("b", rank=2)], machine()) == [
            Start("a", ()),
            Wait("b", WaitingFor.GPU, CPU_TAKEN),
        ]

    def test_a_job_that_asks_for_gpus_waits_and_the_reason_is_shown(self) -> None:
        told = "It asks for GPUs, but this machine has none."
        for wanted in ({"gpus": ["0"]}, {"gpu_count": 2}):
            assert decided([waiting("a", **wanted), waiting("b", rank=2)], machine()) == [
                Wait("a", WaitingFor.GPU, told),
                Start("b", ()),
            ]

    def test_if_the_driver_disappears_under_a_training_the_next_does_not_start_on_the_cpu(self) -> None:
        jobs = [started(waiting("runs"), "GPU-1"), waiting("next")]
        assert waits(decided(jobs, machine())) == {"next": WaitingFor.GPU}

    def test_the_cpu_of_another_machine_is_another_cpu(self) -> None:
        jobs = [started(waiting("there"), place=ELSEWHERE), waiting("here")]
        assert decided(jobs, machine()) == [Start("here", ())]


def test_promise_4_the_gpu_of_a_job_on_another_machine_is_not_given_away_if_it_is_found_here() -> None:
    jobs = [started(waiting("there"), "GPU-1", place=ELSEWHERE), waiting("here")]
    assert starts(decided(jobs, machine("GPU-1", "GPU-2"))) == {"here": ("GPU-2",)}


class TestPrograms:
    def test_they_never_wait_behind_trainings(self) -> None:
        jobs = [
            started(waiting("runs"), "GPU-1"),
            waiting("big", gpu_count=2, priority=9),
            program("captions", rank=9),
        ]
        assert starts(decided(jobs, machine("GPU-1", "GPU-2"))) == {"captions": ()}

    def test_they_do_not_take_the_slot_of_trainings_on_the_cpu(self) -> None:
        jobs = [started(program("runs")), waiting("training"), started(waiting("x"), place=ELSEWHERE)]
        assert starts(decided(jobs, machine())) == {"training": ()}

    def test_they_have_a_limited_number_of_slots(self) -> None:
        jobs = [started(program("runs")), program("b", rank=2), program("a", rank=1)]
        assert decided(jobs, machine("GPU-1")) == [Start("a", ()), Wait("b", WaitingFor.SLOT)]
        assert waits(decided(jobs, machine(program_slots=1))) == {"a": WaitingFor.SLOT, "b": WaitingFor.SLOT}

    def test_those_on_another_machine_and_those_that_are_starting_are_counted_correctly(self) -> None:
        jobs = [started(program("there"), place=ELSEWHERE), program("starts"), program("next", rank=2)]
        assert starts(decided(jobs, machine(program_slots=2, starting={"starts": ()}))) == {"next": ()}
        assert waits(decided(jobs, machine(program_slots=1, starting={"starts": ()}))) == {"next": WaitingFor.SLOT}

    def test_they_start_although_nvml_does_not_answer(self) -> None:
        jobs = [program("captions"), waiting("training")]
        decisions = decided(jobs, machine(problem=WaitingFor.GPU))
        assert (starts(decisions), waits(decisions)) == ({"captions": ()}, {"training": WaitingFor.GPU})
        assert not starts(decided(jobs, machine(problem=WaitingFor.SUPERVISOR)))


class TestObstacles:
    @pytest.mark.parametrize("job", [waiting("a", held=True), program("a", held=True)])
    def test_a_held_job_waits(self, job: Job) -> None:
        assert decided([job], machine("GPU-1")) == [Wait("a", WaitingFor.HELD)]

    @pytest.mark.parametrize("job", [waiting("a"), program("a")])
    def test_a_paused_queue_starts_nothing(self, job: Job) -> None:
        assert decided([job], machine("GPU-1", paused=True)) == [Wait("a", WaitingFor.PAUSED)]

    @pytest.mark.parametrize(
        ("other", "detail"),
        [
            (waiting("b", held=True), "b must be completed first."),
            (started(waiting("b"), "GPU-1"), "b must be completed first."),
            (waiting("c", held=True), "b must be completed first, but it does not exist or is damaged."),
            (
                fold([h.submitted(name="b"), h.reserved(), h.ended("failed")]),
                "b must be completed first, but it failed.",
            ),
            (fold([h.submitted(name="b"), h.CANCELLED]), "b must be completed first, but it was stopped."),
        ],
    )
    def test_a_job_waits_for_one_that_is_not_completed(self, other: Job, detail: str) -> None:
        decisions = decided([waiting("a", after=["b"]), other], machine("GPU-1", "GPU-2"))
        assert decisions[0] == Wait("a", WaitingFor.JOB, detail)

    def test_all_of_them_must_be_completed(self) -> None:
        done = [fold([h.submitted(name=name), h.reserved(), h.ended("completed")]) for name in "bc"]
        assert starts(decided([waiting("a", after=["b", "c"]), *done], machine("GPU-1"))) == {"a": ("GPU-1",)}
        assert waits(decided([waiting("a", after=["b", "c"]), done[0]], machine("GPU-1"))) == {"a": WaitingFor.JOB}

    def test_a_pause_before_the_next_try(self) -> None:
        job = fold([h.submitted(), h.reserved(), h.ended("failed", again=True, not_before=NOW)])
        assert waits(decided([job], machine("GPU-1"), NOW - 1)) == {"my-lora": WaitingFor.BACK_OFF}
        assert starts(decided([job], machine("GPU-1"), NOW)) == {"my-lora": ("GPU-1",)}

    def test_a_start_whose_record_was_just_refused(self) -> None:
        resting = machine("GPU-1", resting=frozenset({"a"}))
        assert waits(decided([waiting("a")], resting)) == {"a": WaitingFor.BACK_OFF}

    def test_a_job_that_does_not_start_blocks_no_others(self) -> None:
        jobs = [waiting("a", held=True, gpu_count=2), waiting("b", rank=2)]
        assert starts(decided(jobs, machine("GPU-1", "GPU-2"))) == {"b": ("GPU-1",)}


class TestChoiceOfGpus:
    @pytest.mark.parametrize(
        ("asked", "allowed"),
        [
            (None, ["GPU-a", "GPU-b"]),
            ([], ["GPU-a", "GPU-b"]),
            (["1"], ["GPU-b"]),
            (["GPU-a"], ["GPU-a"]),
            (["GPU-b", "0"], ["GPU-b", "GPU-a"]),
            (["0", "GPU-a"], ["GPU-a"]),
            (["2"], []),
            (["-1", "GPU-c", ""], []),
        ],
    )
    def test_gpus_are_chosen_by_index_or_uuid(self, asked: list[str] | None, allowed: list[str]) -> None:
        assert allowed_gpus(asked, ["GPU-a", "GPU-b"]) == allowed

    def test_promise_4_a_quarantined_gpu_is_given_to_no_job_and_keeps_its_index(self) -> None:
        aside = machine("GPU-a", "GPU-b", set_aside=frozenset({"GPU-a"}))
        assert starts(decided([waiting("x")], aside)) == {"x": ("GPU-b",)}
        assert waits(decided([waiting("x", gpus=["0"])], aside)) == {"x": WaitingFor.GPU}
        alone = machine("GPU-a", set_aside=frozenset({"GPU-a"}))
        assert waits(decided([waiting("x")], alone)) == {"x": WaitingFor.GPU}, "and it does not begin on the CPU"
        assert decided([waiting("x")], alone) == [
            Wait("x", WaitingFor.GPU, "GPU 0 is quarantined; `fluxgymctl gpus` says why and how to clear it.")
        ]
        both = machine("GPU-a", "GPU-b", set_aside=frozenset({"GPU-a", "GPU-b"}))
        (wait,) = decided([waiting("x")], both)
        assert isinstance(wait, Wait)
        assert (wait.detail or "").startswith("GPUs 0, 1 are quarantined;")

    def test_a_job_gets_one_that_it_allows(self) -> None:
        jobs = [waiting("a", gpus=["1"]), waiting("b", gpus=["GPU-2", "GPU-1"], rank=2), waiting("c", rank=3)]
        decisions = decided(jobs, machine("GPU-1", "GPU-2", "GPU-3"))
        assert starts(decisions) == {"a": ("GPU-2",), "b": ("GPU-1",), "c": ("GPU-3",)}

    @pytest.mark.parametrize(
        ("wanted", "detail"),
        [
            ({"gpu_count": 3}, "It needs 3 GPUs, but this machine has only 2 of them."),
            ({"gpus": ["5"]}, "It needs 1 of the GPUs 5, but this machine has only 0 of them."),
            (
                {"gpus": ["0", "GPU-1"], "gpu_count": 2},
                "It needs 2 of the GPUs 0, GPU-1, but this machine has only 1 of them.",
            ),
        ],
    )
    def test_a_gpu_that_this_machine_lacks_is_reported_and_delays_no_job(
        self, wanted: dict[str, Any], detail: str
    ) -> None:
        jobs = [waiting("a", **wanted), waiting("b", rank=2)]
        assert decided(jobs, machine("GPU-1", "GPU-2")) == [
            Wait("a", WaitingFor.GPU, detail),
            Start("b", ("GPU-1",)),
        ]

    def test_a_job_that_waits_for_several_is_not_starved_by_small_ones(self) -> None:
        running = started(waiting("runs"), "GPU-2")
        jobs = [running, waiting("big", gpu_count=2), waiting("small", rank=2), waiting("urgent", priority=1)]
        assert starts(decided(jobs, machine("GPU-1", "GPU-2"))) == {"urgent": ("GPU-1",)}
        jobs = jobs[:3]
        assert starts(decided(jobs, machine("GPU-1", "GPU-2"))) == {}
        assert starts(decided(jobs[1:], machine("GPU-1", "GPU-2"))) == {"big": ("GPU-1", "GPU-2")}

    def test_it_reserves_no_gpu_that_it_could_not_use(self) -> None:
        jobs = [started(waiting("runs"), "GPU-2"), waiting("big", gpus=["0", "1"], gpu_count=2), waiting("b", rank=2)]
        assert starts(decided(jobs, machine("GPU-1", "GPU-2", "GPU-3"))) == {"b": ("GPU-3",)}


def after(*ends: e.Ended) -> Job:
    history: list[e.AnyEvent] = [h.submitted()]
    for number, end in enumerate(ends, start=1):
        history += [h.reserved(number), msgspec.structs.replace(end, attempt=number)]
    return fold(history)


class TestDue:
    def test_a_new_job_is_due(self) -> None:
        assert due(waiting("a"), NOW) <= NOW

    @pytest.mark.parametrize("times", range(1, 8))
    def test_a_failed_start_is_retried_after_growing_pauses(self, times: int) -> None:
        job = after(*[h.ended("never_started")] * times)
        assert due(job, NOW) == 9.0 + START_PAUSES[min(times, len(START_PAUSES)) - 1]

    def test_the_longer_pause_counts(self) -> None:
        interrupted = h.ended("interrupted", not_before=500.0)
        assert due(after(interrupted, h.ended("never_started", not_before=500.0)), NOW) == 500.0

    def test_a_clock_that_was_set_back_does_not_make_a_pause_of_years(self) -> None:
        job = after(h.ended("interrupted", not_before=39.0))
        assert due(job, 8.0) <= 8.0

    @settings(deadline=None)  # no test depends on timing
    @given(
        ended=st.floats(0, 4e9),
        pause=st.sampled_from(PAUSES),
        failures=st.integers(0, 9),
        now=st.floats(0, 4e9),
    )
    def test_a_pause_never_gets_longer(self, ended: float, pause: float, failures: int, now: float) -> None:
        end = h.ended("failed", again=True, not_before=ended + pause if pause else 0.0)
        ends = [end, *[h.ended("never_started", not_before=end.not_before)] * failures]
        job = after(*[msgspec.structs.replace(each, at=ended) for each in ends])
        assert due(job, now) - now <= max(PAUSES[-1], START_PAUSES[-1]) + 1e-6


class TestLastRank:
    @settings(deadline=None)  # no test depends on timing
    @given(ranks=st.lists(st.floats(-MOST, MOST, exclude_max=True), max_size=4), now=st.floats(-1e11, 1e11))
    def test_it_comes_after_every_readable_rank_and_is_readable_itself(self, ranks: list[float], now: float) -> None:
        rank = last_rank(ranks, now)
        assert all(rank > other for other in ranks)
        assert rank <= MOST

    def test_after_the_largest_rank_the_numbers_decide_the_order(self) -> None:
        largest = float(MOST)
        assert last_rank([largest], NOW) == largest
        earlier = replace_number(waiting("earlier", rank=largest, job_id="f" * 32), 1)
        later = replace_number(waiting("later", rank=largest, job_id="0" * 32), 2)
        assert [job.name for job in queue([later, earlier])] == ["earlier", "later"]


def replace_number(job: Job, number: int) -> Job:
    return msgspec.structs.replace(job, number=number)


class TestPlaceAt:
    LINE = (
        waiting("a", rank=1.0, priority=1),
        waiting("b", rank=1.0),
        waiting("c", rank=2.0),
        waiting("d", rank=0.5, priority=-1),
    )

    @pytest.mark.parametrize("index", range(5))
    def test_it_ends_up_where_it_was_put(self, index: int) -> None:
        job = waiting("x", rank=50.0)
        line = queue([*self.LINE, put(job, place_at(self.LINE, index, job))])
        assert [job.name for job in line].index("x") == index

    def test_no_rank_is_beyond_the_largest_or_the_smallest(self) -> None:
        line = [waiting("a", rank=-float(MOST)), waiting("b", rank=float(MOST))]
        job = waiting("x")
        assert [place_at(line, index, job) for index in (0, 2)] == [(0, -float(MOST)), (0, float(MOST))]

    def test_in_an_empty_queue_it_keeps_its_rank(self) -> None:
        assert place_at([], 0, waiting("x", rank=5.0, priority=3)) == (3, 5.0)

    @settings(deadline=None)  # no test depends on timing
    @given(
        ranks=st.lists(st.sampled_from([1.8e9, 1.8e9 + 0.001, 1.8e9 + 1]), min_size=1, max_size=4),
        priorities=st.lists(st.integers(0, 1), min_size=4, max_size=4),
        places=st.lists(st.integers(0, 50), max_size=60),
    )
    def test_any_number_of_moves_finds_a_place(
        self, ranks: list[float], priorities: list[int], places: list[int]
    ) -> None:
        line = queue(
            waiting(f"old-{number}", rank=rank, priority=priorities[number], job_id=f"{9 - number}" * 32)
            for number, rank in enumerate(ranks)
        )
        for number, place in enumerate(places):
            index = place % (len(line) + 1)
            job = waiting(f"new-{number}", job_id=f"{number:032x}")
            if place_at(line, index, job) is None:
                for other in make_room(line, index):
                    moved = put(other, (other.priority, other.rank + 1.0))
                    jobs = [moved if each is other else each for each in line]
                    assert queue(jobs) == jobs
                    line = jobs
            line = queue([*line, put(job, place_at(line, index, job))])
            assert line[index].name == job.name


def put(job: Job, place: tuple[int, float] | None) -> Job:
    assert place is not None
    return apply(job, e.Moved(at=NOW, priority=place[0], rank=place[1]))


GPUS = ("GPU-1", "GPU-2", "GPU-3", "GPU-4")

demands: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({"kind": Kind.PROGRAM}),
    st.builds(lambda count: {"gpu_count": count}, st.integers(1, 5)),
    st.builds(
        lambda gpus, count: {"gpus": gpus, "gpu_count": count},
        st.lists(st.sampled_from(["0", "1", "2", "7", *GPUS]), max_size=3, unique=True),
        st.integers(1, 3),
    ),
)
obstacles: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"held": True}, {"after": ["never-there"]}, {"after": ["done"]}, {"after": ["job-0"]}]
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Mapping[str, Job], Machine, float]:
    """Jobs in every state on a machine of any size. An earlier daemon granted all leases, so they may name GPUs that
    this machine doesn't have."""
    jobs = {"done": fold([h.submitted(name="done"), h.reserved(), h.ended("completed")])}
    free = list(GPUS)
    for number in range(draw(st.integers(0, 8))):
        job = waiting(
            f"job-{number}",
            priority=draw(st.integers(-1, 1)),
            rank=draw(st.sampled_from([1.0, 2.0, 3.0])),
            job_id=f"{draw(st.integers(0, 15)):x}{number:x}".ljust(32, "0"),
            **draw(demands) | draw(obstacles),
        )
        match draw(st.sampled_from(["waits", "waits", "waits", "backs off", "runs", "lost"])):
            case "backs off" if not job.held:
                not_before = draw(st.sampled_from([NOW - 1, NOW + 1]))
                job = apply(started(job), h.ended("failed", again=True, not_before=not_before))
            case "runs" | "lost" as how if not job.held:
                gpus = tuple(free.pop() for _ in range(draw(st.integers(0, min(2, len(free))))))
                place = draw(st.sampled_from([h.PLACE, ELSEWHERE]))
                job = started(job, *gpus if is_training(job) else (), place=place)
                if how == "lost":
                    job = apply(job, h.sight_lost())
        jobs[job.name] = job
    facts = machine(
        *GPUS[: draw(st.integers(0, 4))],
        program_slots=draw(st.integers(1, 3)),
        paused=draw(st.sampled_from([False, False, False, True])),
        problem=draw(st.sampled_from([None, None, None, WaitingFor.GPU, WaitingFor.SUPERVISOR])),
        held=draw(st.sampled_from([{}, {"broken": EVERYTHING}, *([{"broken": (free.pop(),)}] if free else [])])),
        programs=frozenset(name for name, job in jobs.items() if not is_training(job)),
    )
    return jobs, facts, NOW


def in_doubt(on: Machine) -> set[str]:
    """The GPUs that damaged jobs keep."""
    return {gpu for lease in on.held.values() for gpu in (on.gpus if lease is EVERYTHING else lease)}


def obstructed(job: Job, jobs: Mapping[str, Job], on: Machine) -> bool:
    """Whether something other than a lack of GPUs keeps the job from starting."""
    return (
        job.held
        or on.paused
        or on.problem is WaitingFor.SUPERVISOR
        or (on.problem is not None and is_training(job))
        or not {"done"}.issuperset(job.context.after or ())
        or job.not_before > NOW
    )


def satisfiable(job: Job, on: Machine) -> bool:
    if not on.gpus:
        return not job.context.gpus and (job.context.gpu_count or 1) == 1
    return len(allowed_gpus(job.context.gpus, on.gpus)) >= (job.context.gpu_count or 1)


def demand(job: Job) -> tuple[bool, frozenset[str], int]:
    return is_training(job), frozenset(job.context.gpus or ()), job.context.gpu_count or 1


@settings(deadline=None, max_examples=300)  # no test depends on timing
@given(situations())
def test_promise_4_invariants_of_all_decisions(situation: tuple[Mapping[str, Job], Machine, float]) -> None:
    jobs, on, now = situation
    decisions = decide(jobs, on, now)
    line = queue(jobs.values())
    begun = starts(decisions)
    assert [decision.job for decision in decisions] == [job.name for job in line]

    live = [job for job in jobs.values() if isinstance(job.state, Live)]
    here = [job for job in live if isinstance(job.state, Live) and job.state.attempt.place == h.PLACE]
    taken = {gpu for job in live for gpu in job.lease or ()} | in_doubt(on)
    given_away = [gpu for gpus in begun.values() for gpu in gpus]
    assert len(given_away) == len(set(given_away))
    assert set(given_away) <= set(on.gpus) - taken
    programs = [name for name in begun if not is_training(jobs[name])]
    assert sum(1 for job in here if not is_training(job)) + len(programs) <= max(
        on.program_slots, sum(1 for job in here if not is_training(job))
    )
    trainings = [name for name in begun if is_training(jobs[name])]
    if not on.gpus and trainings:
        assert len(trainings) == 1
        assert EVERYTHING not in on.held.values()
        assert not any(is_training(job) for job in here)

    for place, job in enumerate(line):
        if obstructed(job, jobs, on):
            assert job.name not in begun
            continue
        if job.name in begun:
            count = (job.context.gpu_count or 1) if is_training(job) and on.gpus else 0
            assert len(begun[job.name]) == count
            assert set(begun[job.name]) <= set(allowed_gpus(job.context.gpus, on.gpus))
            continue
        behind = [other for other in line[place + 1 :] if other.name in begun]
        assert demand(job) not in [demand(other) for other in behind]
        if is_training(job) and satisfiable(job, on):
            wanted = set(allowed_gpus(job.context.gpus, on.gpus))
            assert not any(wanted & set(begun[other.name]) for other in behind)


@settings(deadline=None)
@given(situations())
def test_the_first_job_in_the_queue_waits_only_for_missing_resources(
    situation: tuple[Mapping[str, Job], Machine, float],
) -> None:
    jobs, on, now = situation
    line = [job for job in queue(jobs.values()) if is_training(job) and not obstructed(job, jobs, on)]
    first = next((job for job in line if satisfiable(job, on)), None)
    if first is None or not on.gpus:
        return
    taken = {gpu for job in jobs.values() for gpu in job.lease or ()} | in_doubt(on)
    free = set(allowed_gpus(first.context.gpus, on.gpus)) - taken
    assert (first.name in starts(decide(jobs, on, now))) == (len(free) >= (first.context.gpu_count or 1))


@settings(deadline=None)
@given(st.integers(2, 4), st.data())
def test_a_large_job_starts_however_many_small_ones_keep_coming(size: int, data: st.DataObject) -> None:
    on = machine(*GPUS[:size])
    jobs = {f"old-{gpu}": started(waiting(f"old-{gpu}"), gpu) for gpu in on.gpus}
    jobs["big"] = waiting("big", gpu_count=data.draw(st.integers(2, size)), rank=2.0)
    for round_number in range(size + 1):
        name = f"small-{round_number}"
        jobs[name] = waiting(name, rank=3.0 + round_number)
        for one, gpus in starts(decide(jobs, on, NOW)).items():
            jobs[one] = started(jobs[one], *gpus)
        if isinstance(jobs["big"].state, Live):
            return
        running = sorted(one.name for one in jobs.values() if isinstance(one.state, Live))
        over = data.draw(st.sampled_from(running))
        jobs[over] = apply(jobs[over], h.ended("completed"))
    raise AssertionError("the large job was starved")
