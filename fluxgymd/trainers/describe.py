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


def main(script: str) -> None:
    # Anything else that the script and its libraries print goes to stderr.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(parser: argparse.ArgumentParser, _file: object = None) -> None:
        json.dump([described(action) for action in parser._actions], answer)
        answer.close()

    argparse.ArgumentParser.print_help = tell  # type: ignore[method-assign,assignment]
    sys.argv = [script, "--help"]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def described(action: argparse.Action) -> dict[str, Any]:
    """The fields of `flag_kinds.Flag`. Choices are left out if a function of the script converts the words first."""
    words = action.type is None or action.type in (str, *NUMBERS)
    choices = action.choices if words else None
    return {
        "options": [option for option in action.option_strings if option.startswith("--")],
        "nargs": action.nargs,
        "number": NUMBERS.get(action.type) if isinstance(action.type, type) else None,
        "choices": None if choices is None else [str(each) for each in choices if each is not None],
    }


if __name__ == "__main__":
    main(sys.argv[1])
