# SPDX-License-Identifier: Apache-2.0
"""The adapter for a user's own program. The program may report progress in the file that FLUXGYM_METRICS names, and
writes result.json last. It makes no checkpoints."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from fluxgym.errors import InvalidSetting
from fluxgym.files import is_file
from fluxgym.protocol.messages import Context, TrainerOption
from fluxgym.protocol.output_messages import FileKind
from fluxgymd.background import lanes
from fluxgymd.core.job import Attempt
from fluxgymd.core.journal.events import FileStamp
from fluxgymd.core.resume import CheckpointFacts
from fluxgymd.pictures.files import reason
from fluxgymd.snapshots.captions import Captions
from fluxgymd.store.formats import result
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import settings
from fluxgymd.trainers.port import CheckReport, Output, Problem, ProblemKind, Question, Traits
from fluxgymd.trainers.progress.attempt import AttemptProgress

TRAITS = Traits(
    needs_gpu=False,
    takes_dataset=False,
    makes_checkpoints=False,
    watched=False,  # its phases are not known, and it may be meant to wait for hours
    refusal_status=None,
    result="result.json",
)


class Program:
    name = "a program"
    traits = TRAITS
    only_reads_pictures = True
    signals: frozenset[signal.Signals] = frozenset()

    def complete(self, context: Context, _home: Path, *, new: bool = True) -> Context:
        del new  # the settings of programs have not changed
        return settings.complete_program(context)

    def argv(self, context: Context, _folder: JobFolder, *, resume: str | None, gpus: int) -> tuple[str, ...]:
        del resume, gpus  # it has neither
        return tuple(context.program or ())

    def launches(self, _gpus: int) -> bool:
        return False

    def files(self, _context: Context, _folder: JobFolder) -> Mapping[str, bytes]:
        return {}

    def captions(self, _context: Context) -> Captions:
        return Captions()

    def progress(self, folder: JobFolder, attempt: Attempt) -> AttemptProgress:
        return AttemptProgress(folder, attempt, printed=False)

    def tells_phase(self) -> bool:
        return False

    def result_problem(self, folder: JobFolder, before: FileStamp | None) -> str | None:
        return result.program_problem(self.traits.result_file(folder), before)

    def checkpoints(self, _context: Context | None, _folder: JobFolder) -> list[CheckpointFacts]:
        return []

    def outputs(self, _context: Context | None, folder: JobFolder) -> list[Output]:
        told = self.traits.result_file(folder)
        return [Output(name=name, kind=FileKind.RESULT) for name in (told.name, *result.made_by_program(told))]

    def adopted(
        self, _checkpoint: CheckpointFacts, _job: Context, _folder: JobFolder, *, context: Context
    ) -> CheckpointFacts:
        raise InvalidSetting(
            f"{context.name} is a program, which cannot resume from a checkpoint.", setting="resume_from"
        )

    def kept_checkpoints(self, _context: Context) -> int:
        return 1

    def leftovers(self, _folder: JobFolder) -> Sequence[Path]:
        return ()

    def mend(self, _folder: JobFolder) -> Sequence[str]:
        return ()

    async def options(self) -> list[TrainerOption]:
        return []

    async def check(self, question: Question) -> CheckReport:
        context = question.context
        problem = await lanes.answer(f"the program of {context.name}", _missing, context)
        return CheckReport(problems=(problem,) if problem is not None else ())


def _missing(context: Context) -> Problem | None:
    program = (context.program or [""])[0]
    try:
        if is_file(program) and os.access(program, os.X_OK):
            return None
        wrong = f"The program {program} does not exist or is not executable."
    except OSError as error:
        wrong = f"The program {program} cannot be examined: {reason(error)}."
    return Problem(kind=ProblemKind.MISSING_FILE, setting="program", sentence=wrong, path=program)
