# SPDX-License-Identifier: Apache-2.0
"""Errors. A problem that the user can fix is a `TrainerError`: one sentence, no traceback. Any other exception is a
bug in the trainer.

Checks that find several problems collect them (`Gathered`) and raise them together, so that one run names them all.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

EXIT_BAD_INPUT = 1
EXIT_BAD_COMMAND_LINE = 2
LONGEST_CHOICE = 64
"""Characters. No flag or key is longer, and the time to compare names grows with the square of their length."""

Kind = Literal["command_line", "missing_file", "model", "dataset", "prompts", "state", "output", "optimizer"]


class TrainerError(Exception):
    """One sentence that says what is wrong, where, and what would be right.

    The exit status is 1, or 2 for the command line. `kind`, `setting` (a flag without its dashes) and `path` are for
    code that knows better than the check around it what the problem belongs to. By default, `setting` is the flag
    that the sentence begins with.
    """

    def __init__(
        self, sentence: str, *, kind: Kind | None = None, setting: str | None = None, path: Path | None = None
    ) -> None:
        super().__init__(sentence)
        self.kind, self.path = kind, path
        self.setting = setting or _leading_flag(sentence)

    @property
    def errors(self) -> Sequence[TrainerError]:
        """The problems, one sentence each."""
        return (self,)


class MissingFile(TrainerError):
    """A file or folder does not exist."""

    def __init__(self, sentence: str, path: Path, *, setting: str | None = None) -> None:
        super().__init__(sentence, kind="missing_file", path=path, setting=setting)


class Damaged(TrainerError):
    """A state cannot be read, or a part of it is missing. Another state may be intact."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, kind="state", setting="resume")


class Misfit(TrainerError):
    """A state is intact, but was made with settings that differ where they must not."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, kind="state", setting="resume")


class Several(TrainerError):
    """More than one problem. As text, one per line."""

    def __init__(self, errors: Sequence[TrainerError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self._errors = tuple(errors)

    @property
    def errors(self) -> Sequence[TrainerError]:
        return self._errors


def problem_of(error: BaseException | None) -> TrainerError | None:
    """The exception that ended a check, as a TrainerError if the user can fix it (an OSError counts as such), else
    None."""
    if isinstance(error, OSError):
        said = f"{error.filename} cannot be read: {error.strerror}" if error.filename else str(error)
        return TrainerError(said, path=Path(os.fsdecode(error.filename)) if error.filename else None)
    if not isinstance(error, TrainerError):
        return None
    _forget_frames(error)
    return error


def _forget_frames(error: BaseException) -> None:
    """Drops the tracebacks of an error and its causes.

    An error outlives its check, and the frames of its traceback would keep everything that the check had read: after
    a state that filled the memory, none was left to write the answer with.
    """
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [one.__cause__, one.__context__]


class Gathered:
    """Problems of checks that do not depend on each other. If the block of `with gathered:` raises a problem, it is
    kept, and the code after the block runs."""

    def __init__(self) -> None:
        self.errors: list[TrainerError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        problem = problem_of(error)
        if problem is not None:
            self.errors.extend(problem.errors)
        return problem is not None

    def throw(self) -> None:
        """Raises the problems that were kept, if there are any."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise Several(self.errors)


def nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean X?` with the choice nearest to `name`, or an empty text if none is near."""
    if len(name) > LONGEST_CHOICE:
        return ""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _leading_flag(sentence: str) -> str | None:
    found = re.match(r"(?:unknown flag )?--(\w+)", sentence)
    return found[1] if found else None
