# SPDX-License-Identifier: Apache-2.0
"""`dataset replace`: replaces a text in all captions, and shows before what would change."""

import sys

import click

from fluxgym.protocol.dataset_messages import Replacement
from fluxgym.protocol.dataset_methods import REPLACE_IN_CAPTIONS, ReplaceParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, plain, write, write_json
from fluxgymctl.session import Session, common_options


@click.command(
    "replace",
    epilog=epilog("dataset replace cats 'a photo of ' ''", "dataset replace cats kitty cat --yes"),
)
@click.argument("name")
@click.argument("find")
@click.argument("text")
@click.option("-y", "--yes", is_flag=True, help="Replace without asking.")
@click.option("--preview", is_flag=True, help="Only show what would change.")
@common_options
@click.pass_obj
def command(session: Session, name: str, find: str, text: str, *, yes: bool, preview: bool) -> None:
    """Replaces FIND with TEXT in all captions of a dataset.

    Shows each caption that changes. On a terminal, it asks before it changes them.
    """
    wanted = ReplaceParameters(name=name, find=find, replace=text, preview=True)
    reply = session.call(REPLACE_IN_CAPTIONS, wanted)
    for one in reply.replacements:
        if session.json:
            write_json(one)
        else:
            write(lines(one))
    if not reply.replacements:
        note(f"No caption of {name} contains {find!r}.")
        return
    count = f"{len(reply.replacements)} caption{'s' if len(reply.replacements) > 1 else ''}"
    if preview:
        note(f"{count} would change; leave out --preview to change them.")
    elif yes or not sys.stdin.isatty() or click.confirm(f"Change {count}?", err=True):
        wanted = ReplaceParameters(name=name, find=find, replace=text, revision=reply.dataset.revision)
        session.call(REPLACE_IN_CAPTIONS, wanted)
        note(f"{count} changed; `fluxgymctl dataset undo {name}` takes it back.")


def lines(one: Replacement) -> str:
    return f"{one.picture}\n  - {plain(one.before)}\n  + {plain(one.after)}"
