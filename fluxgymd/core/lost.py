# SPDX-License-Identifier: Apache-2.0
"""Advice on what a person can do about a lost job. It is shown with the job's state and with each refusal. Pure."""

from enum import Enum
from typing import assert_never


class Reach(Enum):
    """Whether this daemon can look at an attempt."""

    HERE = "here"
    """It was started on this machine, and the daemon keeps looking."""
    ELSEWHERE = "elsewhere"
    """It was started on another machine."""
    UNKNOWN_ADAPTER = "unknown adapter"
    """It was started by an adapter that this version doesn't know."""


def advice(name: str, reach: Reach, *, stop_asked: bool) -> str:
    """Sentences for the owner of the job `name`."""
    assume = f"`fluxgymctl resume --assume-gone {name}` frees its GPU and queues it again."
    match reach:
        case Reach.HERE if stop_asked:
            own = "FluxGym is ending the processes that provably belong to it; end any others yourself."
        case Reach.HERE:
            own = f"`fluxgymctl stop {name}` ends the processes that provably belong to it; end any others yourself."
        case Reach.ELSEWHERE:
            return f"If the job is still running there, stop it there. Once it is no longer running, {assume}"
        case Reach.UNKNOWN_ADAPTER:
            return (
                "A version of FluxGym that knows the adapter can watch the job. Once it is no longer running, "
                f"{assume}"
            )
        case _:
            assert_never(reach)
    return f"FluxGym checks every second, and continues automatically once it knows what happened to the job. {own}"
