# SPDX-License-Identifier: Apache-2.0
"""How a job ended, as an exit status of `wait` and `watch`. This table is the only place that knows it."""

from fluxgym.messages import State
from fluxgym.methods import WatchReply
from fluxgymctl.output import note_below

STATUS = {
    State.COMPLETED: 0,
    State.FAILED: 10,
    State.STOPPED: 11,
    State.LOST: 12,
    State.DAMAGED: 13,
}
"""The states in which nothing more happens by itself. An interrupted job is resumed, so it has not ended."""

REMOVED = 14
INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""

HELP = ", ".join(f"{status} {state}" for state, status in STATUS.items()) + f", {REMOVED} removed"


def has_ended(state: State) -> bool:
    return state in STATUS


def interrupted(*names: str) -> int:
    """Says that Ctrl-C ended this program alone: no client's end changes anything about a job (promise 1)."""
    match names:
        case []:
            rest = "the jobs go on."
        case [name]:
            rest = f"{name} goes on. `fluxgymctl stop {name}` would stop it."
        case _:
            rest = f"{', '.join(names)} go on."
    note_below(f"This program ends; {rest}")
    return INTERRUPTED


def of(reply: WatchReply) -> int | None:
    """The exit status, if this change is the end of its job."""
    if reply.removed is not None:
        return REMOVED
    return STATUS.get(reply.job.runtime.state) if reply.job is not None else None
