# SPDX-License-Identifier: Apache-2.0
"""`dataset watch`: a line for each change of the datasets."""

from collections.abc import Generator

import click

from fluxgym.protocol.client import Connection
from fluxgym.protocol.dataset_messages import Dataset
from fluxgym.protocol.dataset_methods import WATCH_DATASETS, WatchDatasetsParameters, WatchDatasetsReply
from fluxgymctl.follow import resilient
from fluxgymctl.manual import epilog
from fluxgymctl.outcome import INTERRUPTED
from fluxgymctl.output import note, plain, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options


@click.command("watch", epilog=epilog("dataset watch cats", "dataset watch"))
@click.argument("name", required=False)
@common_options
@click.pass_obj
def command(session: Session, name: str | None) -> int:
    """Shows the datasets, or one of them, and then each change.

    Ends with Ctrl-C, or when the dataset is removed.
    """
    shown: dict[str, str] = {}

    def source(connection: Connection) -> Generator[WatchDatasetsReply, None, bool]:
        for reply in connection.stream(WATCH_DATASETS, WatchDatasetsParameters(name=name)):
            yield reply
            if name is not None and reply.removed == name:
                return True
        return False

    try:
        for reply in resilient(session, source, note=note):
            if session.json:
                write_json(reply)
            elif reply.removed is not None:
                shown.pop(reply.removed, None)
                write(f"{reply.removed} removed")
            elif reply.dataset is not None and shown.get(reply.dataset.name) != line(reply.dataset):
                shown[reply.dataset.name] = line(reply.dataset)
                write(line(reply.dataset))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def line(dataset: Dataset) -> str:
    if dataset.problem is not None:
        return plain(f"{dataset.name} {words.name(dataset.state)}: {dataset.problem}")
    counts = f"{words.text(dataset.used)} of {words.text(dataset.pictures)} pictures used"
    revision = "" if dataset.revision is None else f"  revision {dataset.revision}"
    return f"{dataset.name}  {counts}, {words.text(dataset.captioned)} with captions{revision}"
