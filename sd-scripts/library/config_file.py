# SPDX-License-Identifier: Apache-2.0
"""--config_file: flags from a TOML file. Its sections are only for the eye, as in sd-scripts: all are one list.

Flags of the file are words before those of the command line, so one parser checks both, and the command line wins.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from library.errors import TrainerError


def words(path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """The file as words of a command line. The ending .toml may be left out.

    Raises TrainerError for a file that cannot be read and a value that no flag can have.
    """
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise TrainerError(f"--config_file: there is no file {path}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise TrainerError(f"--config_file: {path} is not TOML: {error}") from error
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= value if isinstance(value, dict) else {key: value}
    with_value = {action.dest for action in parser._actions if action.nargs != 0}
    switches = {action.dest for action in parser._actions} - with_value
    lists = {action.dest for action in parser._actions if action.nargs == "*"}
    # A name that is neither becomes a switch, which the parser refuses with its reason; off, it says nothing.
    return [
        word
        for name, value in flat.items()
        for word in _words(
            name,
            value,
            path,
            is_switch=name in switches or (isinstance(value, bool) and name not in with_value),
            may_be_list=name in lists or name not in with_value,
        )
    ]


def _words(name: str, value: Any, path: Path, *, is_switch: bool, may_be_list: bool) -> list[str]:
    if isinstance(value, bool) != is_switch or (isinstance(value, list) and not may_be_list):
        expected = "true or false" if is_switch else "its value"
        raise TrainerError(f"--config_file {path}: {name} = {value!r} is not {expected}")
    if is_switch:
        return [f"--{name}"] if value else []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in values):
        raise TrainerError(f"--config_file {path}: {name} = {value!r} is not a value of a flag")
    # Joined by "=", so that a value may begin with a dash.
    return [f"--{name}={values[0]}"] if len(values) == 1 else [f"--{name}", *map(str, values)]
