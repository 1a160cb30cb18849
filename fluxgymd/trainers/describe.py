# SPDX-License-Identifier: Apache-2.0
"""A separate program, run by the trainer's Python: prints as JSON the flags that a script defines with argparse.

    python describe.py SCRIPT

The script runs as it does for --help, and its parser's actions are printed instead of the help text, so the answer is
the trainer's own. Imports only the standard library, since the trainer's environment lacks FluxGym's packages.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

NUMBERS = {int: "int", float: "float"}
TYPES = {**NUMBERS, Path: "path"}


def main(script: str) -> None:
    # Anything else that the script and its libraries print goes to stderr.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(parser: argparse.ArgumentParser, _file: object = None) -> None:
        json.dump(flags_of(parser), answer)
        answer.close()

    argparse.ArgumentParser.print_help = tell  # type: ignore[method-assign,assignment]
    sys.argv = [script, "--help"]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def flags_of(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """All flags of a parser, in its order. A group that argparse itself makes has no name."""
    own = [group for group in parser._action_groups if group not in (parser._positionals, parser._optionals)]
    groups = {id(action): group.title for group in own for action in group._group_actions}
    return [described(action) | {"group": groups.get(id(action))} for action in parser._actions]


def described(action: argparse.Action) -> dict[str, Any]:
    """The fields of `flag_kinds.Flag`, except the group. Choices are left out if a function of the script converts
    the words first; then `supported` has the words that the function names, if it does."""
    words = action.type is None or action.type in (str, *NUMBERS)
    choices = action.choices if words else None
    return {
        "options": [option for option in action.option_strings if option.startswith("--")],
        "nargs": action.nargs,
        "number": NUMBERS.get(action.type) if isinstance(action.type, type) else None,
        "choices": None if choices is None else [str(each) for each in choices if each is not None],
        "supported": list(getattr(action.type, "supported", ())) or None,
        "type": type_of(action),
        "help": help_of(action),
        "default": default_of(action),
    }


def type_of(action: argparse.Action) -> str:
    """switch, int, float, path or text. A function that converts words says what it returns in its annotation."""
    if action.nargs == 0:
        return "switch"
    converts: Any = action.type
    if isinstance(converts, type):
        return TYPES.get(converts, "text")
    returned = getattr(converts, "__annotations__", {}).get("return")
    return {int: "int", "int": "int", float: "float", "float": "float"}.get(returned, "text")


def help_of(action: argparse.Action) -> str | None:
    """The help text, with its values filled in."""
    if action.help in (None, argparse.SUPPRESS):
        return None
    return argparse.HelpFormatter("")._expand_help(action)


def default_of(action: argparse.Action) -> list[str] | None:
    """The default as words; None for a switch, and where there is none."""
    value = action.default
    if value in (None, "", argparse.SUPPRESS) or action.nargs == 0:
        return None
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


if __name__ == "__main__":
    main(sys.argv[1])
