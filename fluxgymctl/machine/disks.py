# SPDX-License-Identifier: Apache-2.0
"""`disks`: the disks of the home and what fills them."""

import time
from collections.abc import Sequence

import click

from fluxgym.protocol.machine_messages import Disk
from fluxgym.protocol.machine_methods import WATCH_MACHINE, WatchMachineParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("DISK", "WHAT", "SIZE", "JOBS")
MOST_NAMED = 3


@click.command("disks", epilog=epilog("disks", "disks --measure"))
@click.option("--measure", is_flag=True, help="Measure now, even if the last measurement is recent.")
@common_options
@click.pass_obj
def command(session: Session, *, measure: bool) -> None:
    """Shows the disks of the home and what fills them.

    Only FluxGym's files are measured, in the background and every five minutes at most. A file that jobs share with a
    dataset or a cache counts once.
    """
    began = time.time()
    with session.connect() as connection:
        for reply in connection.stream(WATCH_MACHINE, WatchMachineParameters(measure=measure or None)):
            disks = reply.state.disks
            at = disks[0].measured_at if disks else None
            if not reply.state.unanswered and (at is None or (measure and at < began)):
                continue
            for place in reply.state.unanswered or ():
                note(f"{place} was not measured, since its volume does not answer.")
            if session.json:
                for disk in disks:
                    write_json(disk)
            else:
                write_table(HEADER, rows(disks))
            return


def rows(disks: Sequence[Disk]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for disk in disks:
        found.append((disk.path, "free", f"{words.size(disk.free)} of {words.size(disk.total)}", ""))
        for use in sorted(disk.uses, key=lambda use: use.size, reverse=True):
            jobs = [f"{one.job} {words.size(one.size)}" for one in use.jobs or ()]
            more = f", {len(jobs) - MOST_NAMED} more" if len(jobs) > MOST_NAMED else ""
            found.append(("", words.name(use.what), words.size(use.size), ", ".join(jobs[:MOST_NAMED]) + more))
    return found
