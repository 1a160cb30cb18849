# SPDX-License-Identifier: Apache-2.0
"""What a trainer says about copies of pictures, with the names that their owner knows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from fluxgym.errors import FluxgymError
from fluxgym.protocol.messages import Context
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.subsets import Subset
from fluxgymd.trainers.port import CheckReport, Problem


def names(context: Context, *copies: Sequence[Path]) -> dict[str, str]:
    """The path of each copy of a subset -> what its owner gave. A path comes before those that are its beginning."""
    found = {
        str(place): str(Path(subset.dataset)) if "/" in subset.dataset else subset.dataset
        for places in copies
        for place, subset in zip(places, subsets.of(context), strict=True)
    }
    return dict(sorted(found.items(), key=lambda pair: len(pair[0]), reverse=True))


def named_note(note: str, subset: Subset) -> str:
    """A note about the pictures of a job. If there are several parts, it says which one it is about."""
    return f"{subset.dataset}: {note}" if subset.place else note


def renamed(text: str, known: Mapping[str, str]) -> str:
    for path, name in known.items():
        text = text.replace(path, name)
    return text


def renamed_error(error: FluxgymError, known: Mapping[str, str]) -> FluxgymError:
    fields = {key: renamed(value, known) if isinstance(value, str) else value for key, value in error.fields.items()}
    return type(error)(renamed(error.message, known), **fields)


def renamed_report(report: CheckReport, known: Mapping[str, str]) -> CheckReport:
    def each(problems: Sequence[Problem]) -> tuple[Problem, ...]:
        return tuple(replace(problem, sentence=renamed(problem.sentence, known)) for problem in problems)

    report = replace(report, problems=each(report.problems), warnings=each(report.warnings))
    if report.forecast is None:
        return report
    pictures = tuple(
        msgspec.structs.replace(picture, path=renamed(picture.path, known)) for picture in report.forecast.pictures
    )
    return replace(report, forecast=replace(report.forecast, pictures=pictures))
