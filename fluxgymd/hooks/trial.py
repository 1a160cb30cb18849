# SPDX-License-Identifier: Apache-2.0
"""The object that a hook receives when a user tests it. It describes an event that did not happen, for a job that
does not exist."""

from fluxgym.protocol.messages import Context, Job, Runtime, State
from fluxgymd.hooks.notice import VERSION, Notice

NAME = "test"
STATES = {"stuck": State.RUNNING, "finish": State.COMPLETED, "fail": State.FAILED, "lost": State.LOST}
"""The state of the job, by event."""


def trial(event: str, *, home: str, now: float) -> Notice:
    return Notice(
        version=VERSION,
        event=event,
        at=now,
        text=f"This is a test of the hook on_{event}; nothing has happened.",
        job=Job(
            context=Context(name=NAME),
            runtime=Runtime(id=NAME, state=STATES[event], submitted_at=now, home=home, steps_lost=0),
        ),
        seen=[],
        test=True,
    )
