# SPDX-License-Identifier: Apache-2.0
"""Turns a spec file and flags into the job that is submitted.

Both give values by dotted key (`epochs`, `model.clip_l`, `trainer_options.network_alpha`), with the interface's types
and absolute paths. So flags override the file by a union of two dictionaries.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxgym import toml, trainer_words, watchdog
from fluxgym.errors import FileMissing, InvalidSetting
from fluxgym.files import RECORD_BYTES
from fluxgym.protocol.messages import TWO_FORMS, Context, Model
from fluxgym.quoting import hint
from fluxgymctl.settings.fields import LIMITS, MODEL, OPTIONS, fields, placed

Values = Mapping[str, Any]


def read(file: Path) -> dict[str, Any]:
    """The values of a spec file. Relative paths in it are relative to its folder.

    FileMissing if it cannot be read; InvalidSetting, with file and line, if something in it is wrong.
    """
    return parse(read_text(file), file=file)


def read_text(file: Path) -> str:
    """The text of a file with settings. FileMissing if it cannot be read; InvalidSetting if it is too long or not
    UTF-8."""
    try:
        with file.open("rb") as opened:  # a pipe too: `--file <(...)`
            data = opened.read(RECORD_BYTES + 1)
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"{file} is not UTF-8 at byte {error.start}.", setting="") from None
    except OSError as error:
        raise FileMissing(f"{file} cannot be read: {error.strerror}.", path=str(file)) from None
    if len(data) > RECORD_BYTES:
        raise InvalidSetting(f"{file} has more than {RECORD_BYTES} bytes, the limit for a spec file.", setting="")
    return text


def parse(text: str, *, file: Path) -> dict[str, Any]:
    """The values of a spec file's text."""
    try:
        tables = toml.parse(text)
    except toml.NotToml as error:
        raise InvalidSetting(f"{file} {error}.", setting="") from None
    folder = Path(os.path.abspath(file)).parent
    values: dict[str, Any] = {}
    for key, raw in _dotted(tables):
        try:
            values[key] = _value(key, raw, folder=folder)
        except _WrongValue as error:
            place = f"{file}, line {_line(text, key, raw)}"
            raise InvalidSetting(f"{place}: {key} is {raw!r}, but must be {error}.", setting=key) from None
        except _UnknownKey as error:
            place = f"{file}, line {_line(text, key, raw)}"
            raise InvalidSetting(f"{place}: there is no setting {key}; {error}", setting=key) from None
    return values


def context(*, name: str | None, file: Values, flags: Values) -> Context:
    """The job. The name on the command line and the flags override the file. InvalidSetting if there is no name."""
    replaced = {form for forms in TWO_FORMS if any(form in flags for form in forms) for form in forms}
    values = {**{key: value for key, value in file.items() if key not in replaced}, **flags}
    if name is not None:
        values["name"] = name
    if not values.get("name"):
        raise InvalidSetting(
            "The job has no name; write `fluxgymctl submit NAME`, or set `name` in the spec file.", setting="name"
        )
    model = _table(values, MODEL)
    plain = {key: value for key, value in values.items() if "." not in key}
    return Context(
        **plain,
        model=Model(**model) if model else None,
        trainer_options=_table(values, OPTIONS) or None,
        watchdog_limits=_table(values, LIMITS) or None,
    )


def _table(values: Values, name: str) -> dict[str, Any]:
    """The values of one table, by their keys within it."""
    return {key.partition(".")[2]: value for key, value in values.items() if key.startswith(name + ".")}


def _line(text: str, key: str, raw: Any) -> int:
    """The line of a key. A table's header sets no value, so a table's line is that of its first key."""
    if isinstance(raw, dict) and raw:
        return max(toml.line_of(text, key), toml.line_of(text, f"{key}.{next(iter(raw))}"))
    return toml.line_of(text, key)


def _dotted(tables: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The keys of the file with their values; keys in a table get the table's name as a prefix."""
    rows: list[tuple[str, Any]] = []
    for key, value in tables.items():
        if key in (MODEL, OPTIONS, LIMITS) and isinstance(value, dict):
            rows += [(f"{key}.{inner}", item) for inner, item in value.items()]
        else:
            rows.append((key, value))
    return rows


class _WrongValue(Exception):
    """The text says which value would be right."""


class _UnknownKey(Exception):
    """The text says which key would be right."""


def _value(key: str, raw: Any, *, folder: Path) -> Any:
    """One value, converted to the interface's type. _WrongValue or _UnknownKey."""
    if key in (MODEL, OPTIONS, LIMITS):
        raise _WrongValue(f"a table, [{key}]")
    if key.startswith(OPTIONS + "."):
        try:
            return trainer_words.from_toml(raw)
        except ValueError:
            raise _WrongValue(trainer_words.RIGHT) from None
    if key.startswith(LIMITS + "."):
        return _limit(key.partition(".")[2], raw)
    known = {field.key: field for field in fields()}
    if key not in known:
        raise _UnknownKey(_hint(key, list(known)))
    field = known[key]
    try:
        return placed(field, field.kind.from_toml(raw), folder)
    except ValueError:
        raise _WrongValue(field.kind.right) from None


def _limit(name: str, raw: Any) -> float:
    """One limit of the watchdog. _WrongValue or _UnknownKey."""
    try:
        limit = watchdog.known(name)
    except KeyError as error:
        raise _UnknownKey(error.args[0]) from None
    if type(raw) not in (int, float):
        raise _WrongValue(limit.right)
    try:
        return limit.check(float(raw))
    except OverflowError:
        raise _WrongValue(limit.right) from None
    except ValueError as error:
        raise _WrongValue(str(error)) from None


def _hint(key: str, known: list[str]) -> str:
    names = [*known, MODEL, OPTIONS, LIMITS]
    otherwise = f"the settings are {', '.join(known)} and the flags of the trainer in [{OPTIONS}]."
    meant = hint(key, names, otherwise=otherwise)
    return meant if meant == otherwise else f"{meant} (A flag of the trainer goes in [{OPTIONS}].)"
