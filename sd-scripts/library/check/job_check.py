# SPDX-License-Identifier: Apache-2.0
"""--check_job: reports all problems and warnings of a job as one JSON object, without training or writing anything.
--plan adds what the training will do (`forecast`).

docs/trainer.md describes the format. The checks are those at the start of a training (`survey.run`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from library import gpu
from library.check import forecast, survey, totals
from library.check.survey import Resumed, Survey
from library.errors import Damaged
from library.findings import Finding, Findings, warn
from library.memory import saved_sizes
from library.options.arguments import CommandLine
from library.options.options import Options

FORMAT = 1
HOW = "FLUXGYM_CHECK"
BRIEFLY = "briefly"
"""With FLUXGYM_CHECK=briefly, a check that would take long is not done, so that the caller can queue it."""


def answer(line: CommandLine, *, processes: int, briefly: bool = False) -> str:
    """The JSON text. `processes`: how many would train together. `briefly`: if the check takes long, only say so."""
    if briefly and survey.takes_long(line.options, wrong=line.wrong):
        return json.dumps({"format": FORMAT, "takesLong": True, "problems": [], "warnings": []})
    findings = Findings()
    for problem in line.problems:
        findings.add(problem, "command_line")
    with findings.gather("command_line"):
        for sentence in line.warnings:
            warn(sentence)
    options = line.options
    findings.read(options.config_file)
    found = survey.run(options, findings, processes=processes, on_gpu=gpu.is_there(), wrong=line.wrong)
    return json.dumps(
        {
            "format": FORMAT,
            "problems": _told(findings.problems),
            "warnings": _told(findings.warnings),
            "plan": _plan(options, found, processes) if not findings.problems else None,
            "state": _state(options, found.state, findings) if options.resume is not None else None,
            "files": sorted(os.path.abspath(path) for path in findings.files),
        },
        ensure_ascii=False,
    )


def _plan(options: Options, found: Survey, processes: int) -> dict[str, Any]:
    """The numbers of the training, for a job without problems, and the size of what it writes at each save."""
    assert found.models is not None
    assert found.data is not None
    assert found.plan is not None
    data, planned = found.data, found.plan
    lora, state = saved_sizes.of_run(options, found.models)
    made = totals.count(
        options,
        planned,
        first_step=found.first_step,
        validates=data.validated is not None,
        prompts=len(found.prompts),
    )
    more = forecast.of(options, found, processes=processes) if options.plan else {}
    return {
        "pictures": len({picture.path for picture in data.encoded}),
        "repeatedPictures": data.dataset.repeated,
        "batchesPerEpoch": planned.batches_per_epoch,
        "stepsPerEpoch": planned.steps_per_epoch,
        "totalSteps": planned.total_steps,
        "totalEpochs": planned.total_epochs,
        "firstStep": found.first_step,
        "loraBytes": lora,
        "stateBytes": state,
        "loras": made.loras,
        "lorasKept": made.loras_kept,
        "states": made.states,
        "statesKept": made.states_kept,
        "samples": made.samples,
        "validations": made.validations,
        **more,
    }


def _state(options: Options, state: Resumed | None, findings: Findings) -> dict[str, Any] | None:
    """The verdict on the state; None if its folder does not exist."""
    assert options.resume
    if any(one.kind == "missing_file" and one.setting == "resume" for one in findings.problems):
        return None
    wrong = [one for one in findings.errors if one.kind == "state"]
    damaged = any(isinstance(one, Damaged) for one in wrong)
    return {
        "path": os.path.abspath(state.folder if state else options.resume),
        "verdict": "damaged" if damaged else "misfit" if wrong else "fits",
        "step": state.progress.step if state else None,
        "epoch": state.progress.epoch if state else None,
    }


def _told(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "kind": one.kind,
            "setting": one.setting,
            "sentence": one.sentence,
            "path": os.path.abspath(one.path) if isinstance(one.path, Path) else None,
        }
        for one in found
    ]
