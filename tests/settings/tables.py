# SPDX-License-Identifier: Apache-2.0
"""The trainer's tables, as ask_trainer.py and the daemon's describe.py read them from the trainer itself."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fluxgymd.trainers.flag_kinds import Flag, by_name
from tests.daemon.running import ROOT, TRAINER_PYTHON
from tests.harness.waiting import DEADLINE_SECONDS
from tests.settings import values

TRAINER = ROOT / "sd-scripts"


@dataclass(frozen=True, kw_only=True)
class Tables:
    flags: dict[str, tuple[list[str], ...]]
    """Flag -> the values that it can be drawn with, each a list of words. Empty: nothing is known about the flag."""
    dataset_keys: list[str]
    network_args: list[str]
    optimizers: list[str]
    missing: dict[str, str]
    """Optimizer -> the package that this Python lacks for it."""
    schedules: list[str]
    schedule_classes: list[str]


def ask() -> Tables:
    """Runs both programs. This takes seconds, since one imports torch."""
    told = _run(Path(__file__).with_name("ask_trainer.py"), TRAINER)
    described = _describe()
    flags = {option.removeprefix("--"): _words(flag) for flag in described for option in flag["options"]}
    (schedules,) = (flag["choices"] for flag in described if "--lr_scheduler" in flag["options"])
    return Tables(
        flags=flags,
        dataset_keys=[name for name, off_only in told["datasetKeys"].items() if not off_only],
        network_args=[name for name, one_value in told["networkArgs"].items() if not one_value],
        optimizers=sorted(name for name, missing in told["optimizers"].items() if missing is None),
        missing={name: missing for name, missing in told["optimizers"].items() if missing is not None},
        schedules=schedules,
        schedule_classes=told["schedules"],
    )


def flags() -> dict[str, Flag]:
    """The trainer's flags by name, as the daemon knows them."""
    return by_name(msgspec.convert(_describe(), list[Flag]))


def _describe() -> Any:
    return _run(ROOT / "fluxgymd" / "trainers" / "describe.py", TRAINER / "flux_train_network.py")


def _words(flag: dict[str, Any]) -> tuple[list[str], ...]:
    name = flag["options"][0].removeprefix("--")
    if flag["nargs"] == 0:
        return ([],)
    if flag["choices"]:
        return tuple([word] for word in flag["choices"] if word not in values.CHOICES_LEFT_OUT.get(name, ()))
    return values.VALUES.get(name, ())


def _run(*command: Path) -> Any:
    done = subprocess.run(
        [TRAINER_PYTHON, *command], check=True, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    return json.loads(done.stdout)
