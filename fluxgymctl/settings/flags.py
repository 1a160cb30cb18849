# SPDX-License-Identifier: Apache-2.0
"""The flags that describe a job, for `submit` and `edit`: one for each row of the table of fields.

Only flags that were given have a value: flags override the spec file, and the daemon fills in what neither gives.
"""

from pathlib import Path
from typing import Any

import click

from fluxgym import trainer_words, watchdog
from fluxgymctl.session import F
from fluxgymctl.settings.fields import LIMITS, OPTIONS, PROGRAM, executable, fields, is_switch, placed

_FIELDS = {field.name: field for field in fields() if field.name not in ("name", PROGRAM)}
"""By the names of click's parameters. The job's name is an argument, and its program is the words after `--`."""


class JobCommand(click.Command):
    """A verb that describes a job. The words after `--` are a program and its arguments, never flags of the verb."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, words = args[:at], args[at + 1 :]
            if not words:
                raise click.UsageError("-- must be followed by a program and its arguments.", ctx)
            ctx.params[PROGRAM] = executable(words, Path())
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM ARGUMENT...]"]


def job_options(function: F) -> F:
    """Adds --file, a flag for each field, -o for the trainer's own flags, and --watchdog-limit."""
    decorators = [
        click.option("--file", "file", type=click.Path(path_type=Path), metavar="SPEC", help="A spec file in TOML."),
        *(_field_option(name) for name in _FIELDS),
        click.option(
            "-o",
            "--option",
            OPTIONS,
            metavar="KEY=WORDS",
            multiple=True,
            callback=_read_options,
            help="A flag of the trainer, without the dashes. KEY alone turns on a switch; KEY=false removes a flag "
            "that was given before or is passed by default.",
        ),
        click.option(
            "--watchdog-limit",
            LIMITS,
            metavar="NAME=VALUE",
            multiple=True,
            callback=_read_limits,
            help="A limit of the watchdog for this job; `fluxgymctl config` lists the limits.",
        ),
    ]
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def sources(function: F) -> F:
    """Adds --preset and --like: settings that the spec file and the flags override."""
    for decorate in (
        click.option("--like", metavar="JOB", help="The settings of another job."),
        click.option("--preset", "presets", metavar="NAME", multiple=True, help="The settings of a preset."),
    ):
        function = decorate(function)
    return function


def values(given: dict[str, Any]) -> dict[str, Any]:
    """The values of the flags, by the dotted keys of a spec file."""
    rest = dict(given)
    own = {f"{table}.{key}": value for table in (OPTIONS, LIMITS) for key, value in rest.pop(table).items()}
    program = {PROGRAM: rest.pop(PROGRAM)} if PROGRAM in rest else {}
    return {_FIELDS[name].key: value for name, value in rest.items() if value is not None} | own | program


def _field_option(name: str) -> Any:
    field = _FIELDS[name]
    if is_switch(field):
        both = [f"{flag}/--no-{flag.removeprefix('--')}" for flag in field.flags]
        return click.option(*both, name, default=None, help=field.help)
    return click.option(
        *field.flags,
        name,
        metavar=field.metavar,
        multiple=field.repeated,
        callback=_read_field,
        help=field.help,
    )


def _read_field(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A flag's value, as in the spec file. An absent value stays None, and one empty text means an empty list."""
    if value == ("",):
        return []
    if isinstance(value, tuple):
        return [_read_field(context, parameter, item) for item in value] or None
    if value is None:
        return None
    field = _FIELDS[str(parameter.name)]
    try:
        return placed(field, field.kind.from_text(value), Path())
    except ValueError:
        right = field.kind.right_as_flag or field.kind.right.removesuffix(" in quotes")
        raise click.UsageError(f"{field.flags[0]} is {value!r}, but must be {right}.", context) from None


def _read_options(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, list[str]]:
    """The flags of the trainer. If one is given twice, the last one counts."""
    try:
        return dict(trainer_words.from_text(item) for item in value)
    except ValueError as error:
        raise click.UsageError(f"{parameter.opts[-1]}: {error}.", context) from None


def _read_limits(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, float]:
    """The limits of the watchdog. If one is given twice, the last one counts."""
    limits = {}
    for item in value:
        name, separator, text = item.partition("=")
        flag = parameter.opts[-1]
        if not separator:
            raise click.UsageError(f"{flag} is {item!r}, but must be NAME=VALUE.", context)
        try:
            limit = watchdog.known(name)
        except KeyError as error:
            raise click.UsageError(f"{flag}: there is no limit {name}; {error.args[0]}", context) from None
        try:
            limits[name] = limit.check(float(text))
        except ValueError:
            raise click.UsageError(f"{flag}: {name} is {text!r}, but must be {limit.right}.", context) from None
    return limits
