# SPDX-License-Identifier: Apache-2.0
"""--config_file: flags from a TOML file. Its sections have no meaning, as in sd-scripts: all keys form one list.

The file's flags become words in front of those of the command line, so that one parser checks both, and the command
line wins. Some programs write every setting that they know into such a file. So a value that asks for nothing (an
empty text or list, `None`, false) counts as a flag that is left out, and flags that have no effect on Flux are kept
apart, for a warning.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from library.errors import MissingFile, TrainerError
from library.options import upstream_flags

SWITCHED: dict[object, bool] = {True: True, False: False, "true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class FileFlags:
    """A file's flags as `words` of a command line, the problems with its values, and the flags without an effect."""

    words: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)


def read(path: Path, parser: argparse.ArgumentParser) -> FileFlags:
    """The file's flags. `path` may lack the ending .toml. Raises TrainerError for a file that cannot be read."""
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"--config_file: there is no file {path}", path) from error
    except OSError as error:
        raise TrainerError(f"--config_file: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise TrainerError(f"--config_file: {path} is not TOML: {error}") from error
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flags_of(flat, parser, where=f"--config_file {path}")


def flags_of(values: Mapping[str, Any], parser: argparse.ArgumentParser, *, where: str) -> FileFlags:
    """Flags from keys and values. An unknown name becomes a word too: the parser refuses it and gives the reason."""
    actions = {action.dest: action for action in parser._actions}
    found = FileFlags()
    for name, value in values.items():
        action, flag = actions.get(name), f"--{name}"
        try:
            if action is not None and action.nargs == 0:
                found.words.extend([flag] if _switched(value) else [])
            elif upstream_flags.is_off(flag, value):
                continue
            elif flag in upstream_flags.WITHOUT_EFFECT or flag in upstream_flags.KEYS_OF_THE_GUI:
                found.without_effect.append(flag)
            else:
                found.words.extend(_words(name, value, action))
        except ValueError as error:
            found.problems.append(f"{where}: {name} = {_shown(value)} {error}")
    return found


def _switched(value: Any) -> bool:
    """The value of a switch, which programs also write as a number or a text. Raises ValueError for any other."""
    value = value.lower() if isinstance(value, str) else value
    if upstream_flags.is_empty(value):
        return False
    if isinstance(value, str | int) and value in SWITCHED:
        return SWITCHED[value]
    raise ValueError("is neither true nor false")


def _words(name: str, value: Any, action: argparse.Action | None) -> list[str]:
    if isinstance(value, bool) and action is not None:
        raise ValueError("is not a valid value for this flag")
    if value is True:  # a switch that this trainer does not have
        return [f"--{name}"]
    if isinstance(value, list) and action is not None and action.nargs != "*":
        raise ValueError("is a list, but this flag takes a single value")
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in values):
        raise ValueError("is not a valid value for a flag")
    # Joined by "=", so that a value may start with a dash.
    return [f"--{name}={_text(values[0])}"] if len(values) == 1 else [f"--{name}", *map(_text, values)]


def _text(value: Any) -> str:
    """A value as a word. Integers lose their decimal point: programs write `network_dim = 8.0`, and no flag
    distinguishes that from 8."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
