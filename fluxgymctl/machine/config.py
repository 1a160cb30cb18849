# SPDX-License-Identifier: Apache-2.0
"""`config`: each setting, its value and where the value comes from. It does not need a daemon."""

import os
from collections.abc import Sequence
from textwrap import TextWrapper

import click
import msgspec

from fluxgym.config import SETTINGS, exposed
from fluxgymctl.manual import epilog
from fluxgymctl.output import is_terminal, note, plain, table, terminal_width, write, write_json
from fluxgymctl.session import Session, common_options

INDENT = "    "
HEADER = ("SETTING", "VALUE", "SOURCE", "DESCRIPTION")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, for --json."""

    key: str
    value: str | float
    source: str
    variable: str
    help: str


@click.command("config", epilog=epilog("config", "config --json"))
@common_options
@click.pass_obj
def command(session: Session) -> None:
    """Shows the settings and where they come from.

    A flag overrides the environment, which overrides the file, which overrides the default.
    """
    loaded = session.configuration()
    values = loaded.values
    rows = []
    for setting in SETTINGS:
        found = values[setting.key]
        value = found.value if isinstance(found.value, float) else str(found.value or "off")
        rows.append(
            Row(key=setting.key, value=value, source=found.source, variable=setting.variable, help=setting.help)
        )
    if session.json:
        for row in rows:
            write_json(row)
    else:
        texts = [(row.key, _text(row.value), row.source, row.help) for row in rows]
        for line in lines(texts, width=terminal_width() if is_terminal() else None):
            write(line)
    if (problem := exposed(loaded, os.environ)) is not None:
        note(problem)


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


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
