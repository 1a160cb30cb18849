# SPDX-License-Identifier: Apache-2.0
"""The trainer's program: the command line of kohya-ss/sd-scripts' flux_train_network.py.

Signals are taken over before torch is imported, and nothing is ever looked for on the network. Exit status: 0 the
final LoRA is written; 1 bad input or a failure; 2 a wrong command line; 143 stopped by SIGTERM with a state saved
if a step was done. docs/trainer.md has the details.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from library.signals import StopRequest, Wishes


def main() -> NoReturn:
    stop, wishes = StopRequest(), Wishes()
    stop.install()
    wishes.install()
    try:
        _train(stop, wishes)
    finally:
        stop.close()
        wishes.close()


def _train(stop: StopRequest, wishes: Wishes) -> NoReturn:
    _prepare_output()
    # Set, not defaulted: the trainer of this issue takes every file from the paths it is given.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    from library.arguments import parse

    options = parse(sys.argv[1:])

    from library import early_check, world
    from library.errors import EXIT_BAD_COMMAND_LINE, EXIT_BAD_INPUT, TrainerError
    from library.metrics import Metrics

    speaker = ""
    try:
        if options.check_command_line:
            early_check.check(options)
            raise SystemExit(0)
        own = world.of_environment(os.environ)
        speaker = "" if own.first else f"process {own.rank}: "
        metrics = Metrics.from_environment() if own.first else Metrics(None)
        metrics.report("starting")
        with own.quiet_unless_first():
            from library import training

            training.run(options, own, stop=stop, wishes=wishes, metrics=metrics)
    except ModuleNotFoundError as error:
        sentence = f"error: {sys.executable} has no module {error.name}; use the Python of the trainer's environment"
        print(f"{speaker}{sentence}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from None
    except (TrainerError, OSError) as error:
        print(f"{speaker}error: {error}", file=sys.stderr)
        # A disk or a machine that fails says nothing of the command line.
        wrong_line = options.check_command_line and isinstance(error, TrainerError)
        raise SystemExit(EXIT_BAD_COMMAND_LINE if wrong_line else EXIT_BAD_INPUT) from None
    raise SystemExit(0)


def _prepare_output() -> None:
    """UTF-8 whatever the locale, and a line at a time: the log is read while it is written."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
