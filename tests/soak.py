# SPDX-License-Identifier: Apache-2.0
"""Long, randomized runs that check the promises (`./dev soak`).

    python -m tests.soak [NAME] [ROUNDS] [--seed SEED] [--first ROUND]

`kills` kills daemons, shims, trainers and the bus at random, and fills disks (tests/crash/soak.py). `settings`
interrupts trainings with random settings (tests/settings/soak.py). `messages` sends random malformed messages to a
daemon, one per round (tests/fuzz/message_soak.py). `damages` damages the files of a home, one damage per round
(tests/fuzz/damage_soak.py). `plans` trains random jobs and compares each with what `submit --plan` said
(tests/daemon/plans/soak.py). Without a name all of them run. Each round is drawn from the seed and its number, which
are both printed, so `--seed S --first N` repeats round N; it hits the same moment if the machine is as fast as it
was then. The exit status is 0 if no round failed.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections.abc import Callable

from tests.crash.soak import soak as kills
from tests.daemon.plans.soak import soak as plans
from tests.fuzz.damage_soak import soak as damages
from tests.fuzz.message_soak import soak as messages
from tests.settings.soak import soak as settings

ROUNDS = 200
SOAKS: dict[str, Callable[[int, range], list[int]]] = {
    "kills": kills,
    "settings": settings,
    "messages": messages,
    "damages": damages,
    "plans": plans,
}
"""Name -> a function that takes the seed and the numbers of the rounds, and returns the numbers that failed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev soak", usage=f"%(prog)s [{'|'.join(SOAKS)}] [ROUNDS] [--seed SEED] [--first ROUND]"
    )
    parser.add_argument("what", nargs="*", help="which soak (default: all), and how many rounds (200)")
    parser.add_argument("--seed", type=int, help="draws the same rounds again")
    parser.add_argument("--first", type=int, default=1, help="the number of the first round")
    options = parser.parse_args()
    names = [word for word in options.what if word in SOAKS]
    numbers = [word for word in options.what if word not in SOAKS]
    if len(names) > 1 or len(numbers) > 1 or not all(number.isdecimal() for number in numbers):
        parser.error(f"give one of {', '.join(SOAKS)}, or neither, and a number of rounds")
    rounds = range(options.first, options.first + int(numbers[0] if numbers else ROUNDS))
    seed = random.randrange(10**6) if options.seed is None else options.seed
    # Treat SIGTERM like ^C, so that the running round is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return max(_soak(name, seed, rounds) for name in names or SOAKS)


def _soak(name: str, seed: int, rounds: range) -> int:
    """Runs one soak and returns its exit status."""
    print(f"{name}: {len(rounds)} rounds with seed {seed}", flush=True)
    failed = SOAKS[name](seed, rounds)
    print(f"{name}: {len(rounds) - len(failed)} passed, {len(failed)} failed", flush=True)
    for number in failed:
        print(f"again: ./dev soak {name} 1 --seed {seed} --first {number}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
