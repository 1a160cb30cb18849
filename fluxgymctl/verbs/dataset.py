# SPDX-License-Identifier: Apache-2.0
"""`dataset`: the pictures that jobs train on. Its verbs are in fluxgymctl/datasets/."""

import click

from fluxgymctl.lazy import lazy_group
from fluxgymctl.manual import epilog
from fluxgymctl.session import common_options

VERBS = (
    *(
        "create",
        "list",
        "show",
        "add",
        "caption",
        "crop",
        "use",
        "replace",
        "undo",
        "check",
        "watch",
        "rm",
        "restore",
    ),
)


@click.group(
    "dataset",
    cls=lazy_group(dict.fromkeys(VERBS, "fluxgymctl.datasets")),
    epilog=epilog(
        "dataset create cats",
        "dataset add cats ~/Pictures/cats",
        "dataset show cats",
        "dataset rm cats",
    ),
)
@common_options
def command() -> None:
    """Keeps pictures and captions that jobs train on.

    Each picture is stored once. Every change of a dataset can be undone, and none affects a job that was submitted
    before.
    """
