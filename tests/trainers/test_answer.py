# SPDX-License-Identifier: Apache-2.0
"""Tests of how a trainer's sentences about a job are put in terms of the job's own settings."""

from pathlib import Path

import msgspec
import pytest

from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.answer import CheckAnswer, Finding, report
from fluxgymd.trainers.planned_size import all_saves
from fluxgymd.trainers.port import CheckpointVerdict, ProblemKind
from tests.core.histories import CONTEXT

FOLDER = JobFolder(Path("/home/a--seed/outputs/my-lora"))
JOB = msgspec.structs.replace(CONTEXT, trainer_options={"optimizer_type": ["lion"], "cache_latents": []})


def answer(sentence: str, **parts: str | None) -> CheckAnswer:
    finding = Finding(kind=parts.pop("kind", None) or "command_line", sentence=sentence, **parts)
    return CheckAnswer(problems=[finding], warnings=[finding])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("--learning_rate is 7.", "learning_rate is 7."),
        ("--ae is a VAE of SDXL.", "model.autoencoder is a VAE of SDXL."),
        ("--optimizer_type lion needs a package.", "trainer_options.optimizer_type lion needs a package."),
        # A suggested flag, and an option inside a prompt.
        ("Unknown flag; did you mean --lr_scheduler?", "Unknown flag; did you mean --lr_scheduler?"),
        ("a cat --ar 16:9: there is no --ar.", "a cat --ar 16:9: there is no --ar."),
        # A path that contains `--`.
        ("/home/a--seed/x is missing.", "/home/a--seed/x is missing."),
        (f"{FOLDER.sample_prompts}, line 1: no.", "sample_prompts, line 1: no."),
        ("The caption is 's1gn' (class_tokens).", "The caption is 's1gn' (trigger_word)."),
        # A flag that the daemon passes by default must be turned off; one from the job must be left out.
        (
            "Leave out caching: leave --cache_text_encoder_outputs out, or these.",
            "Leave out caching: give trainer_options.cache_text_encoder_outputs = false, or these.",
        ),
        ("So leave --cache_latents out.", "So leave trainer_options.cache_latents out."),
    ],
)
def test_flags_are_shown_as_the_settings_of_the_job(said: str, shown: str) -> None:
    told = report(answer(said), JOB, FOLDER)
    assert [each.sentence for each in told.problems] == [shown]
    assert [each.sentence for each in told.warnings] == [shown]


def test_a_setting_is_named_as_in_the_job_and_an_unknown_kind_counts_as_a_flag() -> None:
    (problem,) = report(answer("No.", setting="pretrained_model_name_or_path", kind="model"), JOB, FOLDER).problems
    assert (problem.setting, problem.kind) == ("model.transformer", ProblemKind.MODEL)
    (problem,) = report(answer("No.", setting="lr_scheduler", kind="of a newer trainer"), JOB, FOLDER).problems
    assert (problem.setting, problem.kind) == ("lr_scheduler", ProblemKind.COMMAND_LINE)


def test_the_verdict_and_the_sizes() -> None:
    data = b"""{"problems": [], "warnings": [], "newer": 1, "state": {"verdict": "misfit", "step": 12, "path": "/s"},
        "plan": {"stateBytes": 100, "loraBytes": 10, "totalSteps": 4}}"""
    told = report(msgspec.json.decode(data, type=CheckAnswer), JOB, FOLDER)
    assert (told.verdict, told.step) == (CheckpointVerdict.MISFIT, 12)
    assert told.disk_bytes == all_saves(JOB, state=100, lora=10)
    unknown = msgspec.json.decode(data.replace(b"misfit", b"odd"), type=CheckAnswer)
    assert report(unknown, JOB, FOLDER).verdict is None
