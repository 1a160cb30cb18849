# SPDX-License-Identifier: Apache-2.0
"""The name of a job's state on the wire. Pure."""

from typing import assert_never

from fluxgym.protocol.messages import State
from fluxgymd.core import job as core


def wire_state(state: core.State) -> State:
    match state:
        case core.Queued():
            return State.QUEUED
        case core.Interrupted():
            return State.INTERRUPTED
        case core.Starting():
            return State.STARTING
        case core.Running():
            return State.RUNNING
        case core.Stopping():
            return State.STOPPING
        case core.Lost():
            return State.LOST
        case core.Stopped():
            return State.STOPPED
        case core.Completed():
            return State.COMPLETED
        case core.Failed():
            return State.FAILED
        case _:
            assert_never(state)
