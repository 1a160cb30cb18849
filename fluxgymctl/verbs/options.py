# SPDX-License-Identifier: Apache-2.0
"""`options`: the trainer's own flags, which `submit` takes as -o, by group."""

from collections.abc import Sequence
from itertools import groupby

import click

from fluxgym.errors import FluxgymError
from fluxgym.protocol.messages import OptionType, TrainerOption
from fluxgym.protocol.methods import TRAINER_OPTIONS, Nothing
from fluxgymctl.manual import epilog
from fluxgymctl.output import cut, is_terminal, note, table, terminal_width, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("OPTION", "VALUE", "WITHOUT IT", "WHAT IT DOES")
WIDEST = 24
"""Columns of a value before it is cut: a few flags have ten choices, which --json shows."""


@click.command("options", epilog=epilog("options", "options 'learning rate'", "options bucket --json"))
@click.argument("word", required=False)
@common_options
@click.pass_obj
def command(session: Session, word: str | None) -> int:
    """Shows the trainer's flags, which `submit -o` takes; with WORD, those whose name, group or description has it.

    WITHOUT IT is the value that applies to a job that does not give the flag: FluxGym's, or else the trainer's own
    default. Some flags cannot be given with -o, since a setting of the job decides them; for these, the description
    begins with that setting.
    """
    reply = session.call(TRAINER_OPTIONS, Nothing())
    if reply.problem is not None:
        raise FluxgymError(reply.problem)
    found = [option for option in reply.options if word is None or matches(option, word)]
    if not found:
        note(f"No flag of the trainer has {word!r} in its name, group or description.")
        return 1
    if session.json:
        for option in found:
            write_json(option)
    else:
        for line in lines(found):
            write(cut(line, terminal_width()) if is_terminal() else line)
    return 0


def matches(option: TrainerOption, word: str) -> bool:
    """Whether a flag is meant by a word. Dashes count as underscores, as in `--learning-rate`."""
    wanted = word.casefold().removeprefix("--")
    name = option.name.casefold()
    said = f"{option.group or ''} {option.help or ''}".casefold()
    return wanted.replace("-", "_").replace(" ", "_") in name or wanted in said


def lines(options: Sequence[TrainerOption]) -> list[str]:
    """A table with a heading before each group. Groups keep the trainer's order; flags without one come first."""
    header, *rows = table(HEADER, [row(option) for option in options])
    texts = [header]
    for group, members in groupby(zip(options, rows, strict=True), key=lambda pair: pair[0].group):
        texts += ["", *([f"{group}:"] if group is not None else []), *(text for _, text in members)]
    return texts


def row(option: TrainerOption) -> tuple[str, ...]:
    instead = f"not an option; use {option.instead}. " if option.instead else ""
    return (option.name, cut(value(option), WIDEST), cut(without(option), WIDEST), instead + (option.help or ""))


def value(option: TrainerOption) -> str:
    """What the flag takes."""
    if option.type is OptionType.SWITCH:
        return "(switch)"
    one = "|".join(option.choices) if option.choices else words.name(option.type)
    return f"{one} ..." if option.repeated else one


def without(option: TrainerOption) -> str:
    """The value for a job that does not give the flag."""
    if option.type is OptionType.SWITCH:
        return "off" if option.passed is None else "on"
    given = option.default if option.passed is None else option.passed
    return words.text(" ".join(given) if given is not None else None)
