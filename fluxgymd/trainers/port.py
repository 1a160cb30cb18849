# SPDX-License-Identifier: Apache-2.0
"""The interface to trainers: everything that the daemon asks about the program that a job runs.

An adapter turns settings into a command line and files, output into progress, and files into checkpoints and a
result, and says what is wrong with a job before it is started. Only `choice.py` picks an adapter; the rest of the
daemon knows only this module. The contract tests in tests/trainers/test_contract.py run against every adapter.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from fluxgym.protocol.messages import Context, Progress, TrainerOption
from fluxgym.protocol.output_messages import FileKind
from fluxgym.protocol.plan_messages import PlannedBucket, PlannedPicture, PlannedTraining
from fluxgymd.core.job import Attempt
from fluxgymd.core.journal.events import Copied, FileStamp
from fluxgymd.core.measures.pace import StepTime
from fluxgymd.core.outcome import Steps
from fluxgymd.core.resume import CheckpointFacts
from fluxgymd.snapshots.captions import Captions
from fluxgymd.store.home import JobFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """The properties of every job of one kind, whatever its settings and its trainer."""

    needs_gpu: bool
    """The job waits for GPUs, or for the CPU on a machine without GPUs. Otherwise it takes a program slot."""
    takes_dataset: bool
    """Pictures are copied into the job's folder."""
    makes_checkpoints: bool
    watched: bool
    """The watchdog looks at the job unless its settings say otherwise."""
    refusal_status: int | None
    """The exit status with which the program refuses its settings."""
    result: str
    """The name of the file that a completed job has; {name} stands for the job's name."""

    def result_file(self, folder: JobFolder) -> Path:
        return folder.path / self.result.format(name=folder.name)


class ProblemKind(StrEnum):
    """What a problem of a job is about."""

    COMMAND_LINE = "command_line"
    MISSING_FILE = "missing_file"
    MODEL = "model"
    DATASET = "dataset"
    PROMPTS = "prompts"
    STATE = "state"
    OUTPUT = "output"
    OPTIMIZER = "optimizer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with a job, or, as a warning, that its owner should know."""

    kind: ProblemKind
    sentence: str
    setting: str | None = None
    """The job's setting that the problem is about."""
    path: str | None = None
    """The file or folder that the problem is about."""


class CheckpointVerdict(StrEnum):
    """What a trainer says about the checkpoint that it would resume from."""

    FITS = "fits"
    DAMAGED = "damaged"
    MISFIT = "misfit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a training will do."""

    training: PlannedTraining
    buckets: tuple[PlannedBucket, ...]
    pictures: tuple[PlannedPicture, ...]
    caches_bytes: int
    """What its caches add to the disk."""
    first_step: int
    """The steps that are done already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What a trainer says about a job before it is started."""

    problems: tuple[Problem, ...] = ()
    """All problems; if there are none, the job can be started."""
    warnings: tuple[Problem, ...] = ()
    disk_bytes: int = 0
    """Bytes that the job will save in total, as far as they are known before it runs; 0 if they are not."""
    verdict: CheckpointVerdict | None = None
    """On the state that the question names; None if nothing looked into it."""
    step: int | None = None
    """The state's step, counted from the very first run."""
    read_captions: bool = False
    """Whether its warnings say which pictures have no caption."""
    forecast: Forecast | None = None
    """What it says will happen, if the question asks for that and there are no problems; None from a trainer that
    cannot say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastWanted:
    """What a forecast depends on beside the job."""

    gpu_bytes: int | None = None
    """The memory of the smallest GPU that the job may get; None if it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """How a job would be started now."""

    context: Context
    """The complete settings."""
    folder: JobFolder
    """The job's folder, which does not exist yet at a submit."""
    pictures: tuple[Path, ...]
    """The folder of each subset (snapshots/subsets.py): the user's own at a submit, the job's copy later."""
    resume: str | None = None
    """The name of the checkpoint that the job would resume from."""
    copied: Copied | None = None
    """The pictures that were copied for the job; None if that is not known or nothing has been copied yet."""
    wanted: ForecastWanted | None = None
    """If set, the question is also what will happen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A file that a program has written for its user."""

    name: str
    """The path relative to the job's folder, as given by the program: it may lead anywhere."""
    kind: FileKind
    epoch: int | None = None
    step: int | None = None
    """The epochs and steps after which it was saved, if they are known."""
    number: int | None = None
    """The place of a sample's prompt in the job's settings, from 0."""
    seed: int | None = None
    """The seed of a sample's prompt, if it has one."""


class ProgressReader(Protocol):
    """Reads the progress of one attempt."""

    @property
    def progress(self) -> Progress | None: ...

    @property
    def steps(self) -> Steps | None:
        """How far the training came, for the judgement of its end; None if it is not known for certain."""

    @property
    def problem(self) -> str | None:
        """Why the progress is not known at present, as a clause; None if it is."""

    @property
    def work(self) -> int | None:
        """The work done in this phase, in the smallest units that are reported."""

    @property
    def highest_step(self) -> int | None:
        """The highest step of this attempt. If the attempt repeats steps, it reports lower ones later."""

    @property
    def longest_step(self) -> float | None:
        """The longest time between two consecutive steps that the last `read` saw, in seconds."""

    @property
    def step_times(self) -> Sequence[StepTime]:
        """The steps seen by the last `read`, without those that another phase interrupted."""

    def read(self) -> bool:
        """Reads what is new, and returns whether there was anything. Blocks on the disk."""


class Trainer(Protocol):
    """The adapter of one kind of program. All methods but the two async ones may block, but only on the disk."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    @property
    def signals(self) -> frozenset[signal.Signals]:
        """The signals that the program handles. SIGTERM: it saves a checkpoint and exits. SIGQUIT: it writes its
        stacks to the log and continues. SIGUSR1, SIGUSR2: it saves, or draws samples, after the current step. A
        request before the first step takes effect after it; one after the last step has no effect."""

    @property
    def only_reads_pictures(self) -> bool:
        """Whether the program never writes to its pictures, so that they may be links to files that others use."""

    def complete(self, context: Context, home: Path, *, new: bool = True) -> Context:
        """The settings with every default filled in and every value checked; InvalidSetting. Looks only at the home's
        own folders. `new`: the job is being submitted. In any other job, a setting that its version lacked stays
        absent, and it trains as it did."""

    def argv(self, context: Context, folder: JobFolder, *, resume: str | None, gpus: int) -> tuple[str, ...]:
        """The command that an attempt runs. `resume`: the checkpoint's name."""

    def launches(self, gpus: int) -> bool:
        """Whether the program is a launcher, whose children with the ranks 0, 1 and so on do the training."""

    def files(self, context: Context, folder: JobFolder) -> Mapping[str, bytes]:
        """The files that the program reads, by name in the job's folder. They are written before each attempt."""

    def captions(self, context: Context) -> Captions:
        """How the captions are written when the pictures are copied."""

    def progress(self, folder: JobFolder, attempt: Attempt) -> ProgressReader: ...

    def tells_phase(self) -> bool:
        """Whether the program reports its phase from its start on."""

    def result_problem(self, folder: JobFolder, before: FileStamp | None) -> str | None:
        """Why this attempt left no complete result; None if it did. `before`: the stamp of the result file from
        before the attempt. OSError."""

    def checkpoints(self, context: Context | None, folder: JobFolder) -> list[CheckpointFacts]:
        """The checkpoints in the job's folder. `context`: None if the settings cannot be read."""

    def outputs(self, context: Context | None, folder: JobFolder) -> list[Output]:
        """The LoRAs, the samples and the results in the job's folder. `context`: as for `checkpoints`. Raises
        OSError."""

    def adopted(
        self, checkpoint: CheckpointFacts, job: Context, folder: JobFolder, *, context: Context
    ) -> CheckpointFacts:
        """A checkpoint of another job (given by its settings and its folder) as a checkpoint of the job with the
        settings `context`: its name there, and whether the trainer can resume from it. OSError if it was deleted.
        Blocks."""

    def kept_checkpoints(self, context: Context) -> int:
        """How many complete checkpoints are kept: at least one."""

    def leftovers(self, folder: JobFolder) -> Sequence[Path]:
        """Half-written checkpoints of a trainer that was killed, to be deleted before the next attempt."""

    def mend(self, folder: JobFolder) -> Sequence[str]:
        """Removes files that a kill left torn and that would end the next attempt. Returns clauses that say what was
        done. OSError."""

    async def options(self) -> list[TrainerOption]:
        """The program's flags, in its own order; empty if it has none or does not answer."""

    async def check(self, question: Question) -> CheckReport:
        """Everything that is wrong with the job, as far as can be seen without starting it. Never blocks the event
        loop. If the trainer does not answer, it adds no problems: it can still refuse the job when it starts."""
