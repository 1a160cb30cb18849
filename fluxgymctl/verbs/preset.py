# SPDX-License-Identifier: Apache-2.0
"""`preset`: lists, shows, saves and removes settings under a name, which `submit --preset` uses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fluxgym.protocol.messages import Context, Preset
from fluxgym.protocol.methods import (
    PRESETS,
    REMOVE_PRESET,
    SAVE_PRESET,
    JobName,
    PresetsParameters,
    SavePresetParameters,
)
from fluxgymctl.each import each
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options
from fluxgymctl.settings import spec
from fluxgymctl.settings.fields import LIMITS, OPTIONS
from fluxgymctl.settings.flags import job_options, sources, values

HEADER = ("PRESET", "FROM", "WHAT IT IS FOR")


@click.group(
    "preset",
    invoke_without_command=True,
    epilog=epilog("preset", "preset show person", "preset save mine --like my-cat"),
)
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """Lists the presets; its subcommands show, save and remove one.

    A preset has settings for any job: no name, dataset, prompts, trigger word or models. Those that come with FluxGym
    cannot be changed. Your own are files in the folder presets/ of the home, written like a spec file.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@command.command("list", epilog=epilog("preset list"))
@common_options
@click.pass_obj
def list_presets(session: Session) -> None:
    """Lists the presets."""
    _list(session)


def _list(session: Session) -> None:
    found = _presets(session, None)
    if session.json:
        for preset in found:
            write_json(preset)
        return
    write_table(HEADER, [row(preset) for preset in found if preset.problem is None])
    for preset in found:
        if preset.problem is not None:
            note(preset.problem)


def row(preset: Preset) -> tuple[str, str, str]:
    return (preset.settings.name, "FluxGym" if preset.shipped else "you", words.text(preset.about))


def _presets(session: Session, name: str | None) -> list[Preset]:
    with session.connect() as connection:
        replies = connection.stream(PRESETS, PresetsParameters(name=name))
        return [reply.preset for reply in replies if reply.preset is not None]


@command.command("show", epilog=epilog("preset show person"))
@click.argument("name")
@common_options
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Shows the settings of a preset, each with its reason."""
    (preset,) = _presets(session, name)
    if session.json:
        write_json(preset)
        return
    if preset.about:
        write(preset.about)
    for key, value in settings(preset.settings):
        write(f"{key} = {value}")
        if key in preset.why:
            write(f"    {preset.why[key]}")


def settings(context: Context) -> Iterator[tuple[str, str]]:
    """The settings by their keys in a spec file, with their values as they are written in a flag."""
    for field in context.__struct_fields__:
        value = getattr(context, field)
        if field == OPTIONS:
            yield from ((f"{OPTIONS}.{flag}", " ".join(given) or "true") for flag, given in (value or {}).items())
        elif field == LIMITS:
            yield from ((f"{LIMITS}.{name}", f"{limit:g}") for name, limit in (value or {}).items())
        elif value is not None and field != "name":
            yield field, str(value)


@command.command(
    "save",
    epilog=epilog("preset save mine --like my-cat", "preset save mine --preset person --epochs 12 -o ema_decay=0.99"),
)
@click.argument("name")
@click.option("--about", metavar="TEXT", help="What the preset is for, in one sentence.")
@click.option("--replace", is_flag=True, help="Overwrite your preset of this name.")
@sources
@job_options
@common_options
@click.pass_obj
def save(
    session: Session,
    /,
    name: str,
    *,
    about: str | None,
    replace: bool,
    presets: tuple[str, ...],
    like: str | None,
    file: Path | None,
    **given: Any,
) -> None:
    """Saves a preset from flags, a spec file, other presets or a job (--like).

    What belongs to the job, such as its dataset, prompts and models, is left out.
    """
    wanted = spec.context(name=name, file=spec.read(file) if file else {}, flags=values(given))
    if not (presets or like or any(settings(wanted))):
        raise click.UsageError("There is nothing to save; give --like JOB, --preset NAME, flags or a spec file.")
    reply = session.call(
        SAVE_PRESET,
        SavePresetParameters(settings=wanted, about=about, like=like, presets=list(presets), replace=replace),
    )
    if session.json:
        write_json(reply.preset)
    else:
        write(reply.preset.settings.name)


@command.command("rm", epilog=epilog("preset rm mine"))
@click.argument("names", nargs=-1, required=True)
@common_options
@click.pass_obj
def remove(session: Session, names: tuple[str, ...]) -> int:
    """Removes presets that you saved."""
    return each(names, lambda name: _remove(session, name))


def _remove(session: Session, name: str) -> None:
    session.call(REMOVE_PRESET, JobName(name=name))
