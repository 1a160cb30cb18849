# SPDX-License-Identifier: Apache-2.0
"""What to do after a look at an attempt: one step of its state machine. Pure; run/looking.py looks and acts.

A cgroup becomes empty a moment after its last process ends. So anything odd counts only if two looks in a row see it.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from fluxgymd.core.evidence import (
    Conclusion,
    Exited,
    LeftOver,
    LostSight,
    NeverStarted,
    Over,
    Rebooted,
    Runs,
    RunsAlone,
)
from fluxgymd.core.resume import CheckpointFacts


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered between two looks at an attempt."""

    last: type[Conclusion] | None = None
    """The kind of conclusion that the previous look came to."""
    seen_running: bool = False
    """A look has seen the attempt run."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing of the attempt is left: stop looking."""

    over: Over


@dataclass(frozen=True, slots=True)
class NoteRunning:
    """Record that the attempt runs, if that is new."""


@dataclass(frozen=True, slots=True)
class NoteUnsupervised:
    """Record that it runs without its shim, if that is new."""


@dataclass(frozen=True, slots=True)
class NoteLost:
    """Record that contact with it was lost, if that is new."""

    why: str
    """A clause."""


@dataclass(frozen=True, slots=True)
class StopRest:
    """The trainer has ended: stop the processes that it left."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Do nothing before the next look."""


Action = Finish | NoteRunning | NoteUnsupervised | NoteLost | StopRest | LookAgain


def step(memory: Memory, conclusion: Conclusion) -> tuple[Memory, Action]:
    """What to do after a look that came to this conclusion, and what to remember for the next one."""
    twice = memory.last is type(conclusion)
    memory = replace(memory, last=type(conclusion))
    running = replace(memory, seen_running=True)
    match conclusion:
        case Exited() | NeverStarted() | Rebooted():
            return memory, Finish(conclusion)
        case Runs():
            return running, NoteRunning()
        case RunsAlone():
            return (running, NoteUnsupervised()) if twice else (memory, LookAgain())
        case LeftOver():
            return memory, StopRest() if twice else LookAgain()
        case LostSight(why):
            return memory, NoteLost(why) if twice else LookAgain()
        case _:
            assert_never(conclusion)


def waits_for_checkpoint(newest: CheckpointFacts | None, *, before: str) -> bool:
    """Whether a stop after the next checkpoint still has to wait. `newest`: the newest complete checkpoint; `before`:
    the name of the newest one when the stop was asked for, or "" if there was none.

    After the final checkpoint the trainer exits on its own, and not every trainer resumes from that one.
    """
    if newest is None:
        return not before
    return newest.name == before or newest.final
