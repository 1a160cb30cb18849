# SPDX-License-Identifier: Apache-2.0
"""`submit`: queues a job from flags, from a spec file, or from both. Flags stand over the file.

stdout gets the job's name and nothing else, so that a script can take it.
"""

from pathlib import Path
from typing import Any

import click

from fluxgym.methods import SUBMIT, SubmitParameters
from fluxgymctl import options, outcome, spec
from fluxgymctl.fields import OPTIONS, absolute, fields, is_path, is_switch
from fluxgymctl.output import note, write, write_json
from fluxgymctl.session import F, Session, common_options

_FIELDS = {field.name: field for field in fields() if field.name != "name"}
"""By the names of the flags. The job's name is the argument."""


def read_field(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A flag's value as the spec file would have it; absent stays None."""
    if isinstance(value, tuple):
        return [read_field(context, parameter, item) for item in value] or None
    if value is None:
        return None
    field = _FIELDS[str(parameter.name)]
    try:
        read = field.kind.from_text(value)
        return absolute(read, Path.cwd()) if is_path(field) else read
    except ValueError:
        right = field.kind.right.removesuffix(" in quotes")
        raise click.UsageError(f"{field.flag} is {value!r}, but must be {right}.", context) from None


def read_options(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, list[str]]:
    """The flags of the trainer; one that is given twice counts as given last."""
    try:
        return dict(options.from_text(item) for item in value)
    except ValueError as error:
        raise click.UsageError(f"{parameter.opts[-1]}: {error}.", context) from None


def field_options(function: F) -> F:
    """A flag for each field."""
    for field in reversed(_FIELDS.values()):
        if is_switch(field):
            flag = f"{field.flag}/--no-{field.flag.removeprefix('--')}"
            option = click.option(flag, field.name, default=None, help=field.help)
        else:
            # A flag that is repeated reads better in the singular: --sample-prompt A --sample-prompt B.
            singular = field.flag.removesuffix("s") if field.repeated else field.flag
            option = click.option(
                *dict.fromkeys((field.flag, singular)),
                field.name,
                metavar=field.kind.metavar,
                multiple=field.repeated,
                callback=read_field,
                help=field.help,
            )
        function = option(function)
    return function


@click.command("submit", epilog=f"With --follow: {outcome.HELP}.")
@click.argument("name", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="SPEC", help="A spec file in TOML.")
@click.option("-f", "--follow", is_flag=True, help="Go on as `watch` does.")
@field_options
@click.option(
    "-o",
    "--option",
    OPTIONS,
    metavar="KEY=WORDS",
    multiple=True,
    callback=read_options,
    help="A flag of the trainer by its own name, without the dashes; KEY alone is a switch.",
)
@common_options
@click.pass_obj
def command(
    session: Session,
    /,
    name: str | None,
    *,
    file: Path | None,
    follow: bool,
    trainer_options: dict[str, list[str]],
    **flags: Any,
) -> int:
    """Queues a training job and prints its name.

    Each flag is also a key of the spec file, with underscores; --transformer and the other files of the base model
    are keys of its table [model], and the trainer's own flags of its table [trainer_options]. Paths in the spec
    file are relative to the file.
    """
    values = {_FIELDS[flag].key: value for flag, value in flags.items() if value is not None}
    values |= {f"{OPTIONS}.{key}": words for key, words in trainer_options.items()}
    job = spec.context(name=name, file=spec.read(file) if file else {}, flags=values)

    reply = session.call(SUBMIT, SubmitParameters(job=job))
    for warning in reply.warnings:
        note(warning)
    if session.json:
        write_json(reply.job)
    else:
        write(reply.job.context.name)
    if not follow:
        return 0
    from fluxgymctl.verbs.watch import watch

    return watch(session, reply.job.context.name)
