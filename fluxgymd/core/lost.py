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
            own = "FluxGym is ending what it can prove is the job's; end anything else yourself."
        case Reach.HERE:
            own = f"`fluxgymctl stop {name}` ends what is provably the job's; end anything else yourself."
        case Reach.ELSEWHERE:
            return f"If it still runs there, stop it there. Once nothing of it runs any more, {assume}"
        case Reach.UNKNOWN_ADAPTER:
            return (
                f"A version of FluxGym that knows the adapter can watch it. If nothing of it runs any more, {assume}"
            )
        case _:
            assert_never(reach)
    return f"FluxGym looks again every second, and goes on by itself as soon as it can tell what became of it. {own}"
