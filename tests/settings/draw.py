# SPDX-License-Identifier: Apache-2.0
"""Draws settings, and how their training is interrupted: a pure function of the seed and the number of the draw.

Optimizers, schedules, flags, network arguments, fields and interruptions are dealt from shuffled decks instead of
drawn independently, so a few dozen draws cover all of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.settings import values
from tests.settings.interruptions import WAYS
from tests.settings.tables import Tables
from tests.settings.values import Options

T = TypeVar("T")

FLAGS, NETWORK_ARGS, FIELDS = 4, 1, 4
"""How many of each a draw gets."""

BASE: Options = {
    "mixed_precision": ["no"],
    "network_train_unet_only": [],
    "t5xxl_max_token_length": ["32"],
}
"""For speed."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Settings and an interruption. `moment`: the share of the training's steps after which it is interrupted; 0: as
    soon as the trainer has started."""

    fields: dict[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    way: str = "stop"
    moment: float = 0.5

    def __str__(self) -> str:
        told = [f"{name}={value}" for name, value in sorted(self.fields.items())]
        told += [f"-o {name}={' '.join(words)}" if words else f"-o {name}" for name, words in self.options.items()]
        return f"{' '.join(told)}; {self.way} at {self.moment:.0%}"


def draw(tables: Tables, *, seed: int, number: int) -> Draw:
    """Returns the draw with this number, which counts from 1."""
    dice = random.Random(f"{seed} {number}")

    def deal(deck: Sequence[T], topic: str, count: int = 1) -> list[T]:
        return [_dealt(deck, f"{seed} {topic}", (number - 1) * count + place) for place in range(count)]

    (optimizer,) = deal([name for name in tables.optimizers if name not in values.OPTIMIZERS_NOT_DRAWN], "optimizer")
    options = dict(BASE) | {"optimizer_type": [spelled(optimizer, tables)]}
    if optimizer in values.OPTIMIZER_ARGS and dice.random() < 0.5:
        options["optimizer_args"] = dice.choice(values.OPTIMIZER_ARGS[optimizer])
    if optimizer not in values.WITHOUT_A_SCHEDULE or "relative_step=False" in options.get("optimizer_args", ()):
        options |= _schedule(deal([*tables.schedules, *values.SCHEDULE_CLASSES], "schedule")[0])
    for argument in deal(sorted(values.NETWORK_ARGS), "network argument", NETWORK_ARGS):
        options["network_args"] = [f"{argument}={dice.choice(values.NETWORK_ARGS[argument])}"]
        options |= values.NETWORK_ARG_NEEDS.get(argument, {})
    given: Options = {}
    for flag in deal(drawn_flags(tables), "flag", FLAGS):
        wanted = values.NEEDS.get(flag, {}) | {flag: dice.choice(tables.flags[flag])}
        if _agrees(wanted, given) and _has_effect(wanted, options):
            given |= wanted
    if "lr_scheduler" in given:
        options = {name: words for name, words in options.items() if not name.startswith("lr_")}
    options |= given
    fields: dict[str, Any] = {"epochs": 3, "repeats": 2, "save_every_epochs": 1}
    fields["learning_rate"] = values.RATES.get(optimizer, 2e-3)
    for name in deal(sorted(values.FIELDS), "field", FIELDS):
        if name != "learning_rate" or optimizer not in values.RATES:
            fields[name] = dice.choice(values.FIELDS[name])
    if not options.keys().isdisjoint(values.BUCKETS):
        fields["enable_bucket"] = True
    if "sample_at_first" in options or dice.random() < 0.2:
        every = dice.choice(values.SAMPLED[1:])
        fields |= {"sample_prompts": values.PROMPTS, every: dice.choice((1, 2)) * (1 if "epochs" in every else 4)}
    (way,) = deal(sorted(WAYS), "way")
    return Draw(fields=fields, options=options, way=way, moment=dice.random())


def drawn_flags(tables: Tables) -> list[str]:
    return sorted(name for name, words in tables.flags.items() if words and name not in values.NOT_DRAWN)


def spelled(optimizer: str, tables: Tables) -> str:
    """Returns the short name of a torch class, unless the trainer has another optimizer with that name."""
    short = optimizer.removeprefix("torch.optim.")
    return optimizer if short.lower() in tables.optimizers else short


def _dealt(deck: Sequence[T], topic: str, place: int) -> T:
    """Returns the card at a place in an endless sequence of decks, each of which is shuffled separately."""
    turn, at = divmod(place, len(deck))
    cards = list(deck)
    random.Random(f"{topic} {turn}").shuffle(cards)
    return cards[at]


def _schedule(name: str) -> Options:
    if name in values.SCHEDULE_CLASSES:
        return {"lr_scheduler_type": [name], "lr_scheduler_args": values.SCHEDULE_CLASSES[name]}
    return {"lr_scheduler": [name], **values.SCHEDULES.get(name, {})}


def _agrees(wanted: Options, given: Options) -> bool:
    """Returns whether no flag that is already drawn would get another value."""
    return all(given.get(name, words) == words for name, words in wanted.items())


def _has_effect(wanted: Options, options: Options) -> bool:
    """Returns whether a flag can set the schedule that it needs. Some optimizers take no schedule."""
    return "lr_scheduler" not in wanted or "lr_scheduler" in options
