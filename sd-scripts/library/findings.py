# SPDX-License-Identifier: Apache-2.0
"""Collects what the checks of a job find: problems, warnings, and the files that the answer depends on.

The start of a training and --check_job run the same checks and collect the results in a `Findings`. The start raises
the problems; --check_job prints everything as JSON.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from library.errors import Gathered, Kind, TrainerError, problem_of


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem or warning. `setting`: the flag it belongs to, without its dashes."""

    kind: Kind
    setting: str | None
    sentence: str
    path: Path | None = None


class Findings:
    """Collects the results of checks that run one after the other."""

    def __init__(self) -> None:
        self.problems: list[Finding] = []
        self.warnings: list[Finding] = []
        self.files: set[Path] = set()
        self._errors = Gathered()

    def add(self, error: TrainerError, kind: Kind, setting: str | None = None) -> None:
        """Adds a problem. `kind` and `setting` are the defaults for an error that has none."""
        for one in error.errors:
            self._errors.errors.append(one)
            self.problems.append(
                Finding(
                    kind=one.kind or kind,
                    setting=one.setting or setting,
                    sentence=whole_sentence(str(one)),
                    path=one.path,
                )
            )

    def gather(self, kind: Kind, setting: str | None = None) -> Gathering:
        """A context that collects the warnings its block gives and the problem it raises. The code after the block
        runs in either case."""
        return Gathering(self, kind, setting)

    def read(self, *paths: Path | None) -> None:
        """Adds files and folders that the answer depends on."""
        self.files.update(path for path in paths if path is not None)

    @property
    def errors(self) -> Sequence[TrainerError]:
        """The problems as they were raised."""
        return self._errors.errors

    def throw(self) -> None:
        """Raises the problems, if there are any."""
        self._errors.throw()


class Gathering:
    """The context of a running check. `kind` and `setting` are the defaults for its problems and warnings."""

    def __init__(self, findings: Findings, kind: Kind, setting: str | None) -> None:
        self.findings, self.kind, self.setting = findings, kind, setting

    def __enter__(self) -> None:
        self._token = _running.set(self)

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        _running.reset(self._token)
        problem = problem_of(error)
        if problem is not None:
            self.findings.add(problem, self.kind, self.setting)
        return problem is not None


_running: ContextVar[Gathering | None] = ContextVar("_running", default=None)


_said: ContextVar[bool] = ContextVar("_said", default=False)


def warning_line(sentence: str) -> str:
    """The line that people see for a warning."""
    return f"warning: {sentence}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context in which `warn` does nothing, because a check has already given the same warnings."""
    token = _said.set(True)
    try:
        yield
    finally:
        _said.reset(token)


def warn(sentence: str, *, kind: Kind | None = None, setting: str | None = None, path: Path | None = None) -> None:
    """Prints a warning to stderr, and adds it to the findings of the check around it (`Findings.gather`)."""
    if _said.get():
        return
    print(warning_line(sentence), file=sys.stderr)
    if (check := _running.get()) is not None:
        flag = setting or TrainerError(sentence).setting or check.setting
        check.findings.warnings.append(
            Finding(kind=kind or check.kind, setting=flag, sentence=whole_sentence(sentence), path=path)
        )


def note(*paths: Path | None) -> None:
    """Adds files to those that the check around this call depends on."""
    if (check := _running.get()) is not None:
        check.findings.read(*paths)


def whole_sentence(text: str) -> str:
    """The text with a final period, and a capital first letter unless it begins with a flag, a path or a name."""
    first, _, _ = text.partition(" ")
    if first.isalpha() and first.islower():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
