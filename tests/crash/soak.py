# SPDX-License-Identifier: Apache-2.0
"""Random kills, round after round, of the installed daemon in a real user manager (`./dev soak`).

    python -m tests.crash.soak [ROUNDS] [--seed SEED] [--first ROUND]

In each round a stubborn user does something, and something dies or is restarted at a random moment; then the promises
are checked. What a round does is drawn from the seed and the round's number, both printed, so `--seed S --first N`
draws it again; when the machine is as fast as then, it meets the same moment. Exit status 0 if nothing was lost.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from tests.crash.world import KILLS, RESTARTS, World
from tests.daemon.running import make_model

ROUNDS = 200
MOMENT_SECONDS = 2.0
"""The kill comes within this time."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description="Kills at random and checks the promises.")
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=None, help="draws the same rounds again")
    parser.add_argument("--first", type=int, default=1, help="the number of the first round")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    # SIGTERM like ^C, so that the user manager is taken down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    model = Path(tempfile.mkdtemp(prefix="fg-model-"))
    try:
        make_model(model)
        failed, trainings = soak(model, seed=seed, numbers=range(options.first, options.first + options.rounds))
    finally:
        shutil.rmtree(model)
    print(
        f"{options.rounds - failed} passed, {failed} failed (seed {seed}; {trainings} starts of a trainer)",
        flush=True,
    )
    return 1 if failed else 0


def soak(model: Path, *, seed: int, numbers: range) -> tuple[int, int]:
    """How many rounds failed, and how many trainers were started. After a failure the next round begins in a new
    world."""
    failed = trainings = 0
    left = list(numbers)
    while left:
        with World(model) as world:
            number = left[0]
            try:
                while left:
                    number = left.pop(0)
                    play(world, random.Random(f"{seed} {number}"), number)
                world.finish()
            except Exception:  # noqa: BLE001 - whatever it is, it is what the soak looks for
                failed += 1
                print(f"round {number} of seed {seed} FAILED\n{traceback.format_exc()}", file=sys.stderr)
                print(world.evidence(), file=sys.stderr, flush=True)
            trainings += len(world.trainers.starts())
    return failed, trainings


def play(world: World, choice: random.Random, number: int) -> None:
    """One round."""
    deed = world.deed(choice)
    kills = choice.sample(sorted(KILLS), k=choice.choice((1, 1, 1, 2)))
    restarts = choice.sample(sorted(RESTARTS), k=choice.choice((0, 0, 0, 1)))
    moment = choice.uniform(0, MOMENT_SECONDS)
    print(f"round {number}: {deed}; {', '.join([*kills, *restarts])} after {moment:.2f} s", flush=True)

    def strike() -> None:
        for kill in kills:
            KILLS[kill](world)

    killer = threading.Timer(moment, strike)
    killer.start()
    world.do(deed)
    killer.join()
    for restart in restarts:
        RESTARTS[restart](world)
    world.check()


if __name__ == "__main__":
    sys.exit(main())
