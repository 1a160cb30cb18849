# SPDX-License-Identifier: Apache-2.0
"""Decides what a running training can be asked to do while it continues, or why it cannot. Pure."""

import signal
from collections.abc import Set as AbstractSet
from enum import Enum

from fluxgym.protocol.messages import Kind, Phase
from fluxgymd.core.job import Job, Running, Stopping, acted_on


class Wish(Enum):
    """The signal that makes the request (trainers/port.py)."""

    SAVE = signal.SIGUSR1
    SAMPLE = signal.SIGUSR2


REQUESTS = frozenset(wish.value for wish in Wish)

VERBS = {Wish.SAVE: "save on request", Wish.SAMPLE: "draw samples on request"}


def why_not(job: Job, wish: Wish, *, understood: AbstractSet[signal.Signals], phase: Phase | None) -> str | None:
    """Why the job cannot be asked, as a clause; None if it can. `understood`: the signals that its trainer handles;
    `phase`: its present phase, if known."""
    if not isinstance(job.state, Running) and not (isinstance(job.state, Stopping) and job.state.after_checkpoint):
        return "it is not running"
    if job.last is not None and acted_on(job.last) is not None:
        return "it hangs, and is being stopped"
    if job.context.kind is Kind.PROGRAM:
        return f"it is a program, which cannot {VERBS[wish]}"
    if wish.value not in understood:
        return f"its trainer does not {VERBS[wish]}"
    if wish is Wish.SAMPLE and not job.context.sample_prompts:
        return "it has no sample prompts"
    if phase is Phase.FINISHING:
        return "its training is over, and its final files are being saved"
    return None
