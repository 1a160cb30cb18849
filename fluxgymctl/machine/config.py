# SPDX-License-Identifier: Apache-2.0
"""`config`: each setting, its value and where the value comes from. It needs a daemon only for --daemon."""

import os
from collections.abc import Sequence
from textwrap import TextWrapper

import click

from fluxgym.config import exposed
from fluxgym.protocol.machine_messages import Setting
from fluxgym.protocol.machine_methods import SETTINGS
from fluxgym.protocol.methods import Nothing
from fluxgym.setting_list import listed
from fluxgymctl.manual import epilog
from fluxgymctl.output import is_terminal, note, plain, table, terminal_width, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

INDENT = "    "
HEADER = ("SETTING", "VALUE", "SOURCE", "DESCRIPTION")


@click.command("config", epilog=epilog("config", "config --json"))
@click.option("--daemon", is_flag=True, help="Show the settings that the running daemon started with instead.")
@common_options
@click.pass_obj
def command(session: Session, *, daemon: bool) -> None:
    """Shows the settings and where they come from.

    A flag overrides the environment, which overrides the file, which overrides the default. The settings shown are
    those that a daemon would get if it started here and now.
    """
    if daemon:
        show(session, session.call(SETTINGS, Nothing()).settings)
        return
    loaded = session.configuration()
    show(session, listed(loaded, os.environ))
    if (problem := exposed(loaded, os.environ)) is not None:
        note(problem)


def show(session: Session, settings: Sequence[Setting]) -> None:
    if session.json:
        for setting in settings:
            write_json(setting)
        return
    rows = [(one.key, one.value, one.source, words.text(one.about)) for one in settings]
    for line in lines(rows, width=terminal_width() if is_terminal() else None):
        write(line)


def lines(rows: Sequence[Sequence[str]], *, width: int | None) -> list[str]:
    """A table, or a paragraph for each setting if the terminal is too narrow for a table, so that no value is cut."""
    whole = table(HEADER, rows)
    if width is None or max(map(len, whole)) <= width:
        return whole
    below = TextWrapper(
        max(width, 1), initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )
    found = []
    for key, value, source, about in rows:
        found += [plain(f"{key} = {value} ({source})"), *below.wrap(plain(about))]
    return found
