# SPDX-License-Identifier: Apache-2.0
"""Random kills, round after round (`./dev soak kills`).

In each round a stubborn user does something, and something dies or is restarted at a random moment; in every third
one the disk fills up as well. Then the promises are checked.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

from tests.crash.hosts import ManagerHost, PlainHost
from tests.crash.work import Programs, Trainings
from tests.crash.world import World
from tests.daemon.running import make_model
from tests.fuzz.served import Served
from tests.harness.waiting import join

MOMENT_SECONDS = 2.0
"""The kill comes at a random moment within this time."""
CYCLE = 30
WORLDS = {
    "trainings under a user manager": range(4),
    "programs under a user manager": range(4, 7),
    "programs of a daemon without one": range(7, CYCLE),
}
"""The rounds of a cycle that each kind of world plays. Real trainings and user managers take longest."""
FULL = 3
"""The disk fills up in every third round."""


def soak(seed: int, numbers: range) -> list[int]:
    """Plays these rounds; returns those that failed."""
    served = Served()
    failed = play_all(seed, numbers, served)
    return failed if served.report() else [*failed, numbers.start]


def play_all(seed: int, numbers: range, served: Served) -> list[int]:
    """Plays these rounds; returns those that failed. After a failure, the next round begins in a new world."""
    failed = []
    played: Counter[str] = Counter()
    starts = 0
    with ExitStack() as stack:
        model = stack.enter_context(model_folder()) if any(map(_is_training, numbers)) else Path()
        for kind, group in groupby(numbers, key=world_of):
            left = list(group)
            while left:
                began, before = time.monotonic(), len(left)
                number = left.pop(0)
                try:
                    with make_world(kind, model, served) as world, told_of(world):
                        play(world, random.Random(f"{seed} {number}"), number)
                        while left:
                            number = left.pop(0)
                            play(world, random.Random(f"{seed} {number}"), number)
                        world.finish()
                        starts += len(world.host.trainers.starts())
                except Exception:  # noqa: BLE001 - the soak looks for any failure
                    failed.append(number)
                    print(
                        f"round {number} of seed {seed} FAILED\n{traceback.format_exc()}", file=sys.stderr, flush=True
                    )
                rounds = before - len(left)
                played[kind] += rounds
                print(f"{kind}: {(time.monotonic() - began) / rounds:.1f} s a round", flush=True)
    told = ", ".join(f"{number} of {kind}" for kind, number in played.items())
    print(f"{told}; {sum(number % FULL == 0 for number in numbers)} with a full disk; {starts} starts", flush=True)
    return failed


@contextmanager
def told_of(world: World) -> Iterator[None]:
    """After a failure, prints what the world can say about it, while the world is still there."""
    try:
        yield
    except Exception:
        print(world.evidence(), file=sys.stderr, flush=True)
        raise


def world_of(number: int) -> str:
    """The kind of world in which this round is played."""
    return next(kind for kind, rounds in WORLDS.items() if number % CYCLE in rounds)


def _is_training(number: int) -> bool:
    return world_of(number).startswith("trainings")


def make_world(kind: str, model: Path, served: Served) -> World:
    work = Trainings(model) if kind.startswith("trainings") else Programs()
    host = PlainHost(work.words) if kind.endswith("without one") else ManagerHost(work.words)
    return World(host, work, served)


@contextmanager
def model_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fg-model-"))
    try:
        make_model(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def play(world: World, choice: random.Random, number: int) -> None:
    """Plays one round."""
    host = world.host
    deed = world.deed(choice)
    kills = choice.sample(sorted(host.kills), k=choice.choice((1, 1, 1, 2)))
    restarts = choice.sample(sorted(host.restarts), k=choice.choice((0, 0, 0, 1)))
    moment, full = choice.uniform(0, MOMENT_SECONDS), choice.uniform(0, MOMENT_SECONDS)
    spare, starts_on_full_disk = choice.choice((0, 0, 1, 5)), choice.random() < 0.5
    fills = number % FULL == 0
    disk = f"; the disk fills up to {spare} pages after {full:.2f} s" if fills else ""
    print(f"round {number}: {deed}; {', '.join([*kills, *restarts])} after {moment:.2f} s{disk}", flush=True)

    def strike() -> None:
        for kill in kills:
            host.kills[kill]()

    timers = [threading.Timer(moment, strike)]
    if fills:
        timers.append(threading.Timer(full, world.fill_disk, (spare,)))
    for timer in timers:
        timer.start()
    world.do(deed)
    for timer in timers:
        join(timer)
    if fills and starts_on_full_disk:
        world.jobs()
    world.free_disk()
    for restart in restarts:
        host.restarts[restart]()
    world.check()
