# SPDX-License-Identifier: Apache-2.0
"""`list`: all jobs, newest first."""

import time

import click

from fluxgym.messages import Job
from fluxgym.methods import LIST, ListParameters
from fluxgymctl import gpu, jobs, words
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.session import Session, common_options

HEADER = ("NAME", "STATE", "PLACE", "PRIORITY", "PROGRESS", "GPU", "AGE", "WHY")


@click.command("list", epilog=epilog("list", "list --limit 20", "list --json"))
@click.option("--limit", callback=read_count, metavar="N", help="Only the newest N jobs.")
@common_options
@click.pass_obj
def command(session: Session, limit: int | None) -> None:
    """Shows the jobs, newest first.

    PLACE is the place in the queue. Among the waiting jobs, the one with the highest priority starts first, and among
    equals the one that was submitted first, unless it was moved. GPU is the load of the job's GPU.
    """
    with session.connect() as connection:
        replies = connection.stream(LIST, ListParameters(limit=limit))
        found = [reply.job for reply in replies if reply.job is not None]
    if session.json:
        for job in found:
            write_json(job)
    elif not found:
        note("There are no jobs yet; `fluxgymctl submit` creates one.")
    else:
        write_table(HEADER, rows(found, now=time.time()))


def rows(found: list[Job], *, now: float) -> list[tuple[str, ...]]:
    return [
        (
            job.context.name,
            str(job.runtime.state),
            words.text(job.runtime.queue_place),
            words.text(job.context.priority) if job.runtime.waiting_for is not None else words.ABSENT,
            jobs.progress(job),
            gpu.load(job),
            words.age(job.runtime.submitted_at, now=now),
            _remark(job),
        )
        for job in found
    ]


def _remark(job: Job) -> str:
    """The reason for the job's state; without one, the watchdog's doubts about it."""
    why = jobs.why(job)
    return words.text(jobs.doubt(job)) if why == words.ABSENT else why
