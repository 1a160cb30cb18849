# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of `wait` and `watch`, which say how a job ended. They are defined only here."""

from fluxgym.protocol.messages import State
from fluxgym.protocol.methods import WatchReply
from fluxgymctl.output import note_below

STATUS = {
    State.COMPLETED: 0,
    State.FAILED: 10,
    State.STOPPED: 11,
    State.LOST: 12,
    State.DAMAGED: 13,
}
"""The states in which nothing more happens automatically. An interrupted job is resumed, so it has not ended."""

REMOVED = 14
INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""

HELP = ", ".join(f"{status} {state}" for state, status in STATUS.items()) + f", {REMOVED} removed"


def has_ended(state: State) -> bool:
    return state in STATUS


def interrupted(*names: str) -> int:
    """Tells the user that Ctrl-C ended only this program, since the end of a client never affects a job (promise 1).
    Returns the exit status."""
    match names:
        case []:
            rest = "the jobs continue."
        case [name]:
            rest = f"{name} continues. To stop it, run `fluxgymctl stop {name}`."
        case _:
            rest = f"{', '.join(names)} continue."
    note_below(f"Exiting; {rest}")
    return INTERRUPTED


def of(reply: WatchReply) -> int | None:
    """The exit status if this change is the end of its job, otherwise None."""
    if reply.removed is not None:
        return REMOVED
    return STATUS.get(reply.job.runtime.state) if reply.job is not None else None
