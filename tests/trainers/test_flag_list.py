# SPDX-License-Identifier: Apache-2.0
"""Tests of the list of a trainer's flags: everything in it is read from the parser, ours or sd-scripts'."""

import argparse
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import OptionType, TrainerOption
from fluxgymd.trainers.describe import flags_of
from fluxgymd.trainers.flag_kinds import Flag, by_name
from fluxgymd.trainers.flag_list import english, listed


def share(text: str) -> float:
    return float(text)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s, 100 %% repeatable)")
    data = made.add_argument_group("Data")
    data.add_argument("--mirror", action="store_true", help="also mirrored / 左右反転")
    data.add_argument("--size", default="512", choices=["512", "1024"])
    net = made.add_argument_group("Network")
    net.add_argument("--share", type=share, default=0.5)
    net.add_argument("--args", nargs="*", default=["a=1"])
    net.add_argument("--start", type=Path)
    net.add_argument("--learning_rate", type=float, default=2e-6, help=argparse.SUPPRESS)
    return made


def options(passed: dict[str, list[str]] | None = None) -> dict[str, TrainerOption]:
    flags = by_name(msgspec.convert(flags_of(parser()), list[Flag]))
    return {option.name: option for option in listed(flags, passed or {})}


def test_each_flag_has_what_its_parser_says() -> None:
    found = options({"mirror": [], "size": ["512"]})
    assert list(found) == ["seed", "mirror", "size", "share", "args", "start", "learning_rate"]
    plain = TrainerOption(name="", type=OptionType.TEXT, repeated=False)

    def option(name: str, **given: object) -> TrainerOption:
        return msgspec.structs.replace(plain, name=name, **given)

    assert list(found.values()) == [
        option(
            "seed",
            type=OptionType.WHOLE_NUMBER,
            default=["42"],
            help="seed (default: 42, 100 % repeatable)",
            instead="seed",
        ),
        option("mirror", group="Data", type=OptionType.SWITCH, help="also mirrored", passed=[]),
        option("size", group="Data", default=["512"], choices=["512", "1024"], passed=["512"]),
        option("share", group="Network", type=OptionType.NUMBER, default=["0.5"]),
        option("args", group="Network", repeated=True, default=["a=1"]),
        option("start", group="Network", type=OptionType.PATH),
        option(
            "learning_rate",
            group="Network",
            type=OptionType.NUMBER,
            default=["2e-06"],
            instead="learning_rate",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rank of the LoRA / LoRAのランク", "rank of the LoRA"),
        ("folder or file / フォルダ / ファイル", "folder or file"),
        ("steps / epochs", "steps / epochs"),
        ("two\n  lines", "two lines"),
    ],
)
def test_a_help_text_is_one_line_of_english(text: str, said: str) -> None:
    assert english(text) == said
