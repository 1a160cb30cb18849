# SPDX-License-Identifier: Apache-2.0
"""The answer of a trainer's --check_job (docs/trainer.md), and what it means for a job. Pure."""

import re
from collections.abc import Mapping

import msgspec

from fluxgym.protocol.messages import Context
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.planned_size import all_saves
from fluxgymd.trainers.port import CheckpointVerdict, CheckReport, Problem, ProblemKind
from fluxgymd.trainers.told_plan import ToldPlan

FLAG = re.compile(r"(?<![\w./-])--([a-z][a-z0-9_]*)\b")
LEAVE_OUT = re.compile(r"\bleave --([a-z][a-z0-9_]*) out\b")
"""Advice to leave a flag out. The job may not have given it: the daemon passes some flags by default."""
KEY = re.compile(r"(?<![\w./-])class_tokens\b")
"""The dataset.toml key that holds a job's trigger word, or a caption of a part."""


class Finding(msgspec.Struct, frozen=True):
    """A problem or a warning. `setting`: the trainer's flag, without dashes."""

    kind: str
    sentence: str
    setting: str | None = None
    path: str | None = None


class CheckedState(msgspec.Struct, frozen=True):
    """The state that --resume names."""

    verdict: str
    step: int | None = None


class CheckAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The complete JSON object. Unknown fields are ignored."""

    problems: list[Finding]
    warnings: list[Finding]
    files: list[str] = []
    plan: ToldPlan | None = None
    state: CheckedState | None = None
    takes_long: bool = False
    """Nothing was checked: the trainer was asked for a brief answer, and this job's check takes long."""

    def renamed(self, paths: Mapping[str, str]) -> "CheckAnswer":
        """The answer with each key of `paths` replaced by its value in every sentence and every `path`."""

        def rename(finding: Finding) -> Finding:
            sentence, path = finding.sentence, finding.path
            for old, new in paths.items():
                sentence = sentence.replace(old, new)
                path = new if path == old else path
            return msgspec.structs.replace(finding, sentence=sentence, path=path)

        return msgspec.structs.replace(
            self, problems=[*map(rename, self.problems)], warnings=[*map(rename, self.warnings)]
        )


def report(answer: CheckAnswer, context: Context, folder: JobFolder) -> CheckReport:
    """The answer as a CheckReport that names the job's settings instead of the trainer's flags."""
    options = context.trainer_options or {}
    caption = "trigger_word" if context.parts is None else "the part's caption, or trigger_word"

    def renamed(flag: str) -> str:
        # Any flag that the job does not give is a suggestion, or an option of a prompt.
        return kohya.as_setting(flag) if flag in kohya.SETTINGS or flag in options else f"--{flag}"

    def without(flag: str) -> str:
        return f"leave --{flag} out" if flag in options else f"give trainer_options.{flag} = false"

    def worded(sentence: str) -> str:
        sentence = LEAVE_OUT.sub(lambda flag: without(flag[1]), sentence)
        sentence = FLAG.sub(lambda flag: renamed(flag[1]), sentence)
        return KEY.sub(caption, sentence.replace(str(folder.sample_prompts), "sample_prompts"))

    def problem(finding: Finding) -> Problem:
        kind = ProblemKind(finding.kind) if finding.kind in set(ProblemKind) else ProblemKind.COMMAND_LINE
        return Problem(
            kind=kind,
            setting=kohya.SETTINGS.get(finding.setting, finding.setting) if finding.setting is not None else None,
            sentence=worded(finding.sentence),
            path=finding.path,
        )

    plan, state = answer.plan, answer.state
    return CheckReport(
        problems=tuple(map(problem, answer.problems)),
        warnings=tuple(map(problem, answer.warnings)),
        disk_bytes=_saved(plan, context) if plan is not None else 0,
        verdict=_verdict(state.verdict) if state is not None else None,
        step=state.step if state is not None else None,
        read_captions=True,
        forecast=plan.forecast(worded) if plan is not None else None,
    )


def _saved(plan: ToldPlan, context: Context) -> int:
    return all_saves(
        context, state=plan.state_bytes, lora=plan.lora_bytes, states=plan.states, loras=plan.loras_at_once
    )


def _verdict(word: str) -> CheckpointVerdict | None:
    """None for a word that this daemon does not know."""
    return CheckpointVerdict(word) if word in set(CheckpointVerdict) else None
