# SPDX-License-Identifier: Apache-2.0
"""A preset's file, which is a spec file with two more keys: `about`, and `why` with the reasons by setting. Pure.

A preset has settings that suit many jobs. What belongs to one job (its name, pictures, prompts and place in the
queue) or to one machine (the paths of models) is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import tomli_w

from fluxgym import toml, trainer_words
from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, OpenEnum, Preset
from fluxgym.quoting import hint, short
from fluxgymd.trainers import kohya

ABOUT, WHY, OPTIONS, LIMITS = "about", "why", "trainer_options", "watchdog_limits"

OF_ONE_JOB = frozenset(
    {
        *("name", "kind", "program", "dataset", "parts", "trigger_word", "sample_prompts", "model"),
        *("priority", "held", "after", "gpus", "resume_from"),
    }
)
"""Settings that no preset has."""
OPTIONS_OF_ONE_JOB = frozenset(
    {"network_weights", "dim_from_weights", "logging_dir", "debug_hang", "debug_hang_once"}
)
"""Options that no preset has, besides the flags that cannot be options at all."""


class NotAPreset(ValueError):
    """The file cannot be used; the text says why, as a clause that follows the file's name."""


def parse(text: str, *, name: str, shipped: bool) -> Preset:
    """The preset in a file. NotAPreset."""
    try:
        tables = toml.parse(text)
    except toml.NotToml as error:
        raise NotAPreset(str(error)) from None
    about, why = tables.pop(ABOUT, None), dict(_reasons(tables.pop(WHY, {}), ""))
    if not isinstance(about, str | None):
        raise NotAPreset(f"has an invalid value: {ABOUT} must be a text")
    settings = Context(name=name, **dict(_values(tables)))
    wrong = [f"{key} {refusal}" for key in sorted(keys(settings)) if (refusal := _refusal(key)) is not None]
    if wrong:
        raise NotAPreset(f"cannot be used: {wrong[0]}")
    unknown = sorted(why.keys() - keys(settings))
    if unknown:
        raise NotAPreset(f"gives a reason for {short(unknown[0])}, which it does not set")
    return Preset(settings=settings, about=about, why=why, shipped=shipped)


def render(preset: Preset) -> bytes:
    """The file of a preset."""
    settings = preset.settings
    given = {field: getattr(settings, field) for field in settings.__struct_fields__ if field != "name"}
    document: dict[str, Any] = {ABOUT: preset.about} if preset.about else {}
    document |= {field: _plain(value) for field, value in given.items() if value is not None}
    if settings.trainer_options:
        document[OPTIONS] = {flag: trainer_words.to_toml(words) for flag, words in settings.trainer_options.items()}
    for key, reason in preset.why.items():
        table, _, inner = key.rpartition(".")
        why = document.setdefault(WHY, {})
        (why.setdefault(table, {}) if table else why)[inner] = reason
    return tomli_w.dumps(document).encode()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, OpenEnum) else value


def refuse(settings: Context) -> None:
    """InvalidSetting if a setting belongs to one job."""
    for key in sorted(keys(settings)):
        wrong = _refusal(key)
        if wrong is not None:
            raise InvalidSetting(f"{key} {wrong}.", setting=key)


def of_job(context: Context, name: str) -> Context:
    """A job's settings as those of a preset: without what belongs to the job."""
    options = {
        flag: words
        for flag, words in (context.trainer_options or {}).items()
        if _refusal(f"{OPTIONS}.{flag}") is None
    }
    left = {field: None for field in context.__struct_fields__ if field in OF_ONE_JOB and field != "name"}
    return msgspec.structs.replace(context, **left, name=name, trainer_options=options or None)


def keys(settings: Context) -> set[str]:
    """The settings that are given, by their keys in a file."""
    given = {field for field in settings.__struct_fields__ if getattr(settings, field) is not None} - {"name"}
    own = {f"{table}.{key}" for table in (OPTIONS, LIMITS) for key in getattr(settings, table) or {}}
    return given - {OPTIONS, LIMITS} | own


def _refusal(key: str) -> str | None:
    """Why a preset cannot have this setting; None if it can."""
    if key in OF_ONE_JOB:
        return "belongs to one job, so a preset cannot have it"
    flag = key.removeprefix(f"{OPTIONS}.")
    if flag == key:
        return None
    if flag in OPTIONS_OF_ONE_JOB:
        return "belongs to one job, so a preset cannot have it"
    instead = kohya.instead(flag)
    return None if instead is None else f"cannot be given; use {instead}"


def _values(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    kinds = {field.name: field.type for field in msgspec.structs.fields(Context)}
    for key, raw in tables.items():
        if key in OF_ONE_JOB:
            raise NotAPreset(f"cannot be used: {key} {_refusal(key)}")
        if key not in kinds:
            known = [name for name in kinds if name not in OF_ONE_JOB]
            raise NotAPreset(
                f"has an unknown setting {short(key)}; {hint(key, known, otherwise='see docs/presets.md')}"
            )
        if key == OPTIONS and isinstance(raw, dict):
            yield key, {flag: _words(flag, value) for flag, value in raw.items()}
            continue
        try:
            value = msgspec.convert(raw, kinds[key])
        except msgspec.ValidationError:
            value = "unknown"
        if value == "unknown":
            raise NotAPreset(f"has an invalid value: {key} cannot be {short(repr(raw))}")
        yield key, value


def _words(flag: str, value: Any) -> list[str]:
    try:
        return trainer_words.from_toml(value)
    except ValueError:
        raise NotAPreset(f"has an invalid value: {OPTIONS}.{short(flag)} must be {trainer_words.RIGHT}") from None


def _reasons(table: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """The reasons by dotted key."""
    if isinstance(table, str):
        yield prefix, table
    elif isinstance(table, dict):
        for key, value in table.items():
            yield from _reasons(value, f"{prefix}.{key}" if prefix else key)
    else:
        raise NotAPreset(f"has an invalid value: {WHY}.{short(prefix)} must be a text")
