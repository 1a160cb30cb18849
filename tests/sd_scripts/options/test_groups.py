# SPDX-License-Identifier: Apache-2.0
"""Tests of what the parser tells a list of its flags: each has a group, a help text and its words."""

from __future__ import annotations

import argparse

import pytest

from library.options.arguments import parser
from library.options.options import exactly, only


def test_each_flag_but_help_has_a_group_and_a_help_text() -> None:
    made = parser()
    own = [group for group in made._action_groups if group is not made._optionals]
    grouped = [action for group in own for action in group._group_actions]
    assert {action.dest for action in made._actions} - {action.dest for action in grouped} == {"help"}
    assert all(action.help for action in grouped)
    titles = [group.title for group in own if group._group_actions]
    assert len(titles) == len(set(titles)) == 12


def test_a_choice_lists_its_words_in_any_case_and_refuses_others() -> None:
    choice = only("no", "bf16")
    assert (choice.supported, choice("BF16")) == (("no", "bf16"), "bf16")
    with pytest.raises(argparse.ArgumentTypeError, match=r"'fp16' is not supported; choose from no, bf16"):
        choice("fp16")
    with pytest.raises(argparse.ArgumentTypeError, match=r"'Networks\.LoRA' is not supported"):
        exactly("networks.lora")("Networks.LoRA")
