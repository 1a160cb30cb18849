# SPDX-License-Identifier: Apache-2.0
"""`watch`: progress as it happens: one live line on a terminal, a line for each landmark elsewhere."""

from typing import Protocol

import click

from fluxgym.protocol.messages import Job
from fluxgym.protocol.methods import WatchReply
from fluxgymctl import follow, outcome
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import is_terminal, note, terminal_width, write, write_json, write_raw
from fluxgymctl.prose import jobs
from fluxgymctl.session import Session, common_options


class View(Protocol):
    """Shows a stream of changes."""

    def show(self, reply: WatchReply) -> None: ...

    def clear(self) -> None:
        """Clears the present line, so that a sentence on stderr begins on an empty one."""


class JsonView:
    """Writes each reply as JSON."""

    def show(self, reply: WatchReply) -> None:
        write_json(reply)

    def clear(self) -> None:
        pass


class LineView:
    """Writes a line for each change that is worth one (jobs.worth_a_line)."""

    def __init__(self) -> None:
        self._shown: dict[str, Job] = {}

    def show(self, reply: WatchReply) -> None:
        if reply.removed is not None:
            self._shown.pop(reply.removed, None)
            write(f"{reply.removed} removed")
        elif reply.job is not None and jobs.worth_a_line(self._shown.get(reply.job.context.name), reply.job):
            self._shown[reply.job.context.name] = reply.job
            write(text_of(reply.job, width=None))

    def clear(self) -> None:
        pass


class LiveView:
    """Overwrites one line (with a carriage return and blanks, without escape sequences)."""

    def __init__(self) -> None:
        self._length = 0

    def show(self, reply: WatchReply) -> None:
        if reply.removed is not None:
            self.clear()
            write(f"{reply.removed} removed")
        elif reply.job is not None and outcome.has_ended(reply.job.runtime.state):
            self.clear()
            write(text_of(reply.job, width=None))
        elif reply.job is not None:
            # One column less, since some terminals wrap when a line fills the last column.
            text = text_of(reply.job, width=terminal_width() - 1)
            write_raw("\r" + text.ljust(self._length))
            self._length = len(text)

    def clear(self) -> None:
        if self._length:
            write_raw("\r" + " " * self._length + "\r")
            self._length = 0


def text_of(job: Job, *, width: int | None) -> str:
    if outcome.has_ended(job.runtime.state):
        return jobs.ending(job)
    return jobs.live_line(job, width=width)


@click.command("watch", epilog=epilog("watch my-lora", "watch", ends=outcome.HELP))
@click.argument("name", required=False)
@click.option("--limit", callback=read_count, metavar="N", help="Show only the newest N of the jobs that have ended.")
@common_options
@click.pass_obj
def command(session: Session, name: str | None, limit: int | None) -> int:
    """Shows the progress of a job as it happens.

    Ends when the job has ended. Without NAME, shows all jobs and then each change. Ctrl-C ends only this command; the
    job continues.
    """
    return watch(session, name, limit=limit)


def watch(session: Session, name: str | None, *, limit: int | None = None) -> int:
    """Shows changes until the job has ended, and returns its exit status. Without a name it does not end."""
    view = view_for(session, name)

    def say(text: str) -> None:
        view.clear()
        note(text)

    try:
        for reply in follow.changes(session, name, limit=limit, note=say):
            view.show(reply)
            if name is not None and (status := outcome.of(reply)) is not None:
                if not session.json and reply.job is not None and (advice := jobs.advice(reply.job)) is not None:
                    note(advice)
                return status
    except KeyboardInterrupt:
        view.clear()
        return outcome.interrupted(*([name] if name is not None else []))
    finally:
        view.clear()
    raise AssertionError("follow.changes does not end")


def view_for(session: Session, name: str | None) -> View:
    if session.json:
        return JsonView()
    return LiveView() if name is not None and is_terminal() else LineView()
