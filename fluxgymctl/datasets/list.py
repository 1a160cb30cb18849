# SPDX-License-Identifier: Apache-2.0
"""`dataset list`: all datasets, or the removed ones."""

import time

import click

from fluxgym.protocol.dataset_messages import Dataset, RemovedDataset
from fluxgym.protocol.dataset_methods import LIST_DATASETS, ListDatasetsParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("NAME", "STATE", "PICTURES", "USED", "CAPTIONS", "SIZE", "CHANGED")


@click.command("list", epilog=epilog("dataset list", "dataset list --removed"))
@click.option("--removed", is_flag=True, help="Show the datasets that `dataset restore` can bring back.")
@common_options
@click.pass_obj
def command(session: Session, *, removed: bool) -> None:
    """Shows the datasets.

    A plain dataset is a folder in datasets/ of the home that was not changed with FluxGym yet.
    """
    with session.connect() as connection:
        replies = list(connection.stream(LIST_DATASETS, ListDatasetsParameters(removed=removed or None)))
    found = [reply.dataset for reply in replies if reply.dataset is not None]
    gone = [reply.removed for reply in replies if reply.removed is not None]
    if session.json:
        for one in (*found, *gone):
            write_json(one)
    elif gone:
        write_table(("NAME", "REMOVED"), removed_rows(gone, now=time.time()))
    elif found:
        write_table(HEADER, rows(found, now=time.time()))
        for dataset in found:
            if dataset.problem is not None:
                note(dataset.problem)
    else:
        note(
            "No dataset was removed."
            if removed
            else "There is no dataset; `fluxgymctl dataset create NAME` makes one."
        )


def rows(found: list[Dataset], *, now: float) -> list[tuple[str, ...]]:
    return [
        (
            dataset.name,
            words.name(dataset.state),
            words.text(dataset.pictures),
            words.text(dataset.used),
            words.text(dataset.captioned),
            words.size(dataset.size),
            words.age(dataset.changed_at, now=now),
        )
        for dataset in found
    ]


def removed_rows(gone: list[RemovedDataset], *, now: float) -> list[tuple[str, ...]]:
    return [(one.name, words.age(one.removed_at, now=now)) for one in gone]
