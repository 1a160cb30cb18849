# SPDX-License-Identifier: Apache-2.0
"""Which program causes the load of a GPU: the job, another program, or it is unknown."""

import pytest

from fluxgym.protocol.messages import Phase
from fluxgymd.core.watchdog.attribution import Owner, owner
from fluxgymd.core.watchdog.judge import judge
from fluxgymd.core.watchdog.movement import Counters, compare
from fluxgymd.core.watchdog.observation import Listed
from fluxgymd.core.watchdog.signs import gpus
from fluxgymd.core.watchdog.verdict import Healthy, Stuck
from tests.core.watchdog.looking import ELSEWHERE, OWN, STRANGER, gpu, look, trail
from tests.core.watchdog.usual import USUAL

MINE = Listed(own=(OWN,), here=(OWN, STRANGER))
"""What the observer finds when it looks the pids up."""


@pytest.mark.parametrize(
    ("processes", "listed", "whose"),
    [
        ((OWN,), MINE, Owner.JOB),
        ((STRANGER, OWN), MINE, Owner.JOB),
        ((ELSEWHERE, OWN), MINE, Owner.JOB),
        ((STRANGER,), MINE, Owner.OTHERS),
        ((), MINE, Owner.OTHERS),
        ((), None, Owner.OTHERS),
        ((ELSEWHERE,), MINE, Owner.UNTOLD),
        ((ELSEWHERE, STRANGER), MINE, Owner.UNTOLD),  # a pid of the host may also name a process here
        (None, MINE, Owner.UNTOLD),
        (None, None, Owner.UNTOLD),
        ((OWN,), None, Owner.UNKNOWN),
        ((ELSEWHERE,), None, Owner.UNKNOWN),
    ],
)
def test_a_gpu_is_attributed_to_its_user(
    processes: tuple[int, ...] | None, listed: Listed | None, whose: Owner
) -> None:
    assert owner(gpu(97, processes=processes), listed) is whose


@pytest.mark.parametrize(
    ("processes", "listed", "works"),
    [
        ((OWN,), MINE, True),
        ((ELSEWHERE,), MINE, True),
        (None, MINE, True),
        ((STRANGER,), MINE, False),
        ((), MINE, False),
        ((OWN,), None, None),
    ],
)
def test_promise_7_another_program_s_load_is_no_sign_of_life(
    processes: tuple[int, ...] | None, listed: Listed | None, works: bool | None
) -> None:
    seen = look(1, gpus=(gpu(97, processes=processes),), listed=listed)
    counters, _ = compare(Counters(), look(0), gpu_idle_percent=5)
    _, movement = compare(counters, seen, gpu_idle_percent=5)
    assert movement.gpu is works
    assert movement.signs["GPU"] is works


def test_one_busy_gpu_of_two_is_enough_and_an_unknown_one_is_not_idle() -> None:
    def works(*processes: tuple[int, ...]) -> bool | None:
        shown = tuple(gpu(97, index=n, uuid=f"GPU-{n}", processes=pids) for n, pids in enumerate(processes))
        return compare(Counters(), look(1, gpus=shown), gpu_idle_percent=5)[1].gpu

    assert works((STRANGER,), (OWN,)) is True
    assert works((STRANGER,), ()) is False
    unknown = look(1, gpus=(gpu(97, processes=()), gpu(97, uuid="GPU-1")), listed=None)
    assert compare(Counters(), unknown, gpu_idle_percent=5)[1].gpu is None


def test_promise_7_a_dead_trainer_beside_a_game_is_found_and_in_a_pod_it_may_be_the_one_that_works() -> None:
    def verdict(processes: tuple[int, ...], phase: Phase | None) -> object:
        shown = (gpu(60, processes=processes),)
        looks = [look(n, phase=phase, step=None, gpus=shown) for n in range(122)]
        return judge(trail(looks), USUAL)

    by_standstill = verdict((STRANGER,), None)
    assert isinstance(by_standstill, Stuck)
    assert by_standstill.rule == "still"
    assert any("None of the job's processes is on it" in sentence for sentence in by_standstill.evidence)
    by_its_gpu = verdict((), Phase.TRAINING)
    assert isinstance(by_its_gpu, Stuck)
    assert by_its_gpu.why.startswith("It did nothing on its GPU, and nothing else moved for ")
    assert isinstance(verdict((ELSEWHERE,), None), Healthy)


@pytest.mark.parametrize(
    ("shown", "listed", "sentence"),
    [
        (gpu(60), MINE, "GPU 0: 60 % busy."),
        (gpu(0, processes=()), MINE, "GPU 0: 0 % busy."),
        (
            gpu(60, processes=()),
            MINE,
            "GPU 0: 60 % busy. None of the job's processes is on it: the load comes from another program.",
        ),
        (
            gpu(60, processes=(ELSEWHERE,)),
            MINE,
            "GPU 0: 60 % busy. The load can't be attributed: NVML's pids belong to another pid namespace.",
        ),
        (
            gpu(60, processes=None),
            MINE,
            "GPU 0: 60 % busy. The load can't be attributed: the driver doesn't list processes.",
        ),
        (gpu(60), None, "GPU 0: 60 % busy. It is unknown whose load this is."),
    ],
)
def test_the_report_says_whose_load_it_is(shown: object, listed: Listed | None, sentence: str) -> None:
    assert gpus(trail([look(0, gpus=(shown,), listed=listed)])) == [sentence]
