# SPDX-License-Identifier: Apache-2.0
"""`list`: all jobs, newest first."""

import time

import click

from fluxgym.protocol.messages import Annotation, Job, RemovedJob
from fluxgym.protocol.methods import LIST, REMOVED, ListParameters, Nothing
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.prose import gpu, jobs, words
from fluxgymctl.session import Session, common_options

HEADER = ("NAME", "STATE", "PLACE", "PRIORITY", "PROGRESS", "GPU", "AGE", "WHY")


@click.command("list", epilog=epilog("list", "list --limit 20", "list --tag good --json"))
@click.option("--limit", callback=read_count, metavar="N", help="Only the newest N jobs.")
@click.option("--group", metavar="NAME", help="Only jobs in this group.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only jobs with this tag; may be repeated.")
@click.option("--removed", is_flag=True, help="Show the removed jobs that `restore` can bring back.")
@common_options
@click.pass_obj
def command(session: Session, *, limit: int | None, group: str | None, tags: tuple[str, ...], removed: bool) -> None:
    """Shows the jobs, newest first.

    PLACE is the place in the queue. Among the waiting jobs, the one with the highest priority starts first, and among
    equals the one that was submitted first, unless it was moved. GPU is the load of the job's GPU.
    """
    if removed:
        _show_removed(session, limit)
        return
    chosen = group is not None or bool(tags)
    with session.connect() as connection:
        replies = connection.stream(LIST, ListParameters(limit=None if chosen else limit))
        found = [reply.job for reply in replies if reply.job is not None and _is_chosen(reply.job, group, tags)]
    found = found[:limit]
    if session.json:
        for job in found:
            write_json(job)
    elif not found and chosen:
        note("No job matches this group and these tags.")
    elif not found:
        note("There are no jobs yet; `fluxgymctl submit` creates one.")
    else:
        write_table(*table(found, now=time.time()))


def _show_removed(session: Session, limit: int | None) -> None:
    with session.connect() as connection:
        found = [reply.job for reply in connection.stream(REMOVED, Nothing()) if reply.job is not None][:limit]
    if session.json:
        for job in found:
            write_json(job)
    elif not found:
        note("There are no removed jobs.")
    else:
        write_table(("NAME", "REMOVED", "DELETED", "SIZE", "ID"), removed_rows(found, now=time.time()))


def removed_rows(found: list[RemovedJob], *, now: float) -> list[tuple[str, ...]]:
    return [
        (
            job.name,
            f"{words.age(job.removed_at, now=now)} ago",
            f"in {words.duration(job.deleted_at - now)}",
            words.size(job.size),
            job.id,
        )
        for job in found
    ]


def table(found: list[Job], *, now: float) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows. Columns for groups and tags appear only if a job has any."""
    all_rows = rows(found, now=now)
    if not any(job.annotation is not None and (job.annotation.group or job.annotation.tags) for job in found):
        return HEADER, all_rows
    noted = [
        (words.text(job.annotation.group), " ".join(job.annotation.tags) or words.ABSENT)
        if job.annotation is not None
        else (words.ABSENT, words.ABSENT)
        for job in found
    ]
    header = (*HEADER[:-1], "GROUP", "TAGS", HEADER[-1])
    return header, [(*row[:-1], *more, row[-1]) for row, more in zip(all_rows, noted, strict=True)]


def _is_chosen(job: Job, group: str | None, tags: tuple[str, ...]) -> bool:
    """Whether the job is in this group, if one is given, and has all of these tags."""
    noted = job.annotation or Annotation(tags=[])
    return group in (None, noted.group) and set(tags) <= set(noted.tags)


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
    """The reason for the job's state; without one, the watchdog's verdict, or that its steps are slow."""
    why = jobs.why(job)
    return words.text(jobs.doubt(job) or jobs.slow(job)) if why == words.ABSENT else why
