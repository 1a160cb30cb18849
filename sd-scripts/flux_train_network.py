# SPDX-License-Identifier: Apache-2.0
"""The trainer's program: the command line of kohya-ss/sd-scripts' flux_train_network.py.

It installs its signal handlers before it imports torch, and it never uses the network. Exit status: 0 the final LoRA
is written; 1 bad input or a failure; 2 wrong command line; 143, 130 or 129 stopped by SIGTERM, SIGINT or SIGHUP, with
a state saved if a step was done. docs/trainer.md has the details.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from library import environment, garbage, streams
from library.signals import StopRequest, Wishes

if TYPE_CHECKING:
    from library.options.arguments import CommandLine


def main() -> NoReturn:
    garbage.off()
    stop, wishes = StopRequest(), Wishes()
    stop.install()
    wishes.install()
    try:
        _train(stop, wishes)
    finally:
        stop.close()
        wishes.close()


def _train(stop: StopRequest, wishes: Wishes) -> NoReturn:
    streams.settle(os.environ)
    environment.drop_empty(os.environ)
    # Overrides the caller's value: the trainer takes every file from the paths it is given, and downloads nothing.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    from library.options import arguments

    line = arguments.read(sys.argv[1:])
    _settle_compile_cache()
    if line.options.check_job or line.options.plan:
        _answer(line)
    options = arguments.options_of(line)

    from library import world
    from library.errors import EXIT_BAD_INPUT, TrainerError
    from library.metrics import Metrics

    speaker = ""
    try:
        own = world.of_environment(os.environ)
        speaker = "" if own.first else f"process {own.rank}: "
        metrics = Metrics.from_environment() if own.first else Metrics(None)
        metrics.report("starting")
        with own.quiet_unless_first():
            from library.train import training

            garbage.on()

            training.run(options, own, stop=stop, wishes=wishes, metrics=metrics)
    except ModuleNotFoundError as error:
        sentence = f"error: {sys.executable} has no module {error.name}; use the Python of the trainer's environment"
        print(f"{speaker}{sentence}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from None
    except (TrainerError, OSError) as error:
        for one in error.errors if isinstance(error, TrainerError) else [error]:
            print(f"{speaker}error: {one}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from None
    raise SystemExit(0)


def _settle_compile_cache() -> None:
    """Sets the folder of the compiler's caches, which torch reads when it is imported. Exits if it cannot be used."""
    from library.compute import compile_cache
    from library.errors import EXIT_BAD_INPUT, TrainerError

    try:
        compile_cache.settle()
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from None


def _answer(line: CommandLine) -> NoReturn:
    """Prints the answer to --check_job or --plan on stdout. Everything else goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    from library import world
    from library.check import job_check

    briefly = os.environ.get(job_check.HOW) == job_check.BRIEFLY
    text = job_check.answer(line, processes=world.of_environment(os.environ).count, briefly=briefly)
    with os.fdopen(answer, "w", encoding="utf-8") as stdout:
        stdout.write(f"{text}\n")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
