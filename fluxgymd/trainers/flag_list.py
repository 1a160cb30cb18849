# SPDX-License-Identifier: Apache-2.0
"""The trainer's flags as a user sees them: what each one does, the values that it takes, and what a job uses instead
of a flag that cannot be an option. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from fluxgym.protocol.messages import OptionType, TrainerOption
from fluxgymd.trainers import kohya
from fluxgymd.trainers.flag_kinds import Flag, counts

TYPES: Final = {
    "switch": OptionType.SWITCH,
    "int": OptionType.WHOLE_NUMBER,
    "float": OptionType.NUMBER,
    "path": OptionType.PATH,
    "text": OptionType.TEXT,
}
_TRANSLATION = re.compile(r" / ?(?=[^/]*[^\x00-\x7f])")
"""Where the Japanese part of sd-scripts' help texts begins."""


def listed(flags: Mapping[str, Flag], passed: Mapping[str, list[str]]) -> list[TrainerOption]:
    """Every flag but --help. `passed`: the words that the daemon passes unless a job gives others, by flag."""
    return [_option(name, flag, passed.get(name)) for name, flag in flags.items() if name != "help"]


def _option(name: str, flag: Flag, passed: list[str] | None) -> TrainerOption:
    most = counts(flag.nargs)[1]
    return TrainerOption(
        name=name,
        group=flag.group,
        help=None if flag.help is None else english(flag.help),
        type=TYPES[flag.type],
        repeated=most is None or most > 1,
        choices=flag.choices or flag.supported,
        default=flag.default,
        passed=passed,
        instead=kohya.instead(name),
    )


def english(text: str) -> str:
    """A help text without its translation, on one line."""
    return " ".join(_TRANSLATION.split(text, maxsplit=1)[0].split())
