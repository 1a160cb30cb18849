# SPDX-License-Identifier: Apache-2.0
"""The common part of the adapters for trainers with sd-scripts' flags and files: ours, and kohya-ss/sd-scripts."""

import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from fluxgym.config import Config
from fluxgym.protocol.messages import Context, TrainerOption
from fluxgymd.background import lanes
from fluxgymd.core.job import Attempt
from fluxgymd.core.journal.events import FileStamp
from fluxgymd.core.resume import CheckpointFacts
from fluxgymd.pictures.names import PICTURES
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.captions import Captions
from fluxgymd.store.caches import torn as caches
from fluxgymd.store.formats import result, safetensors_header
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import dataset_toml, flag_list, kohya, output_names, settings, state_folders, states
from fluxgymd.trainers.asking import Inquiry
from fluxgymd.trainers.output_names import Moment
from fluxgymd.trainers.planned_size import planned_bytes
from fluxgymd.trainers.port import Output, Problem, Question, Traits
from fluxgymd.trainers.progress.attempt import AttemptProgress
from fluxgymd.trainers.states import StateWriter

TRAITS = Traits(
    needs_gpu=True,
    takes_dataset=True,
    makes_checkpoints=True,
    watched=True,
    refusal_status=2,  # argparse's status for a command line that it refuses
    result="{name}.safetensors",
)


LAST = ("ss_epoch", "ss_steps")
"""The keys of a LoRA's metadata that say when it was saved."""
COUNT = re.compile(r"[0-9]{1,12}")


class Training:
    """The base of both adapters. They differ in how they check a job, and in whose states they resume from."""

    traits = TRAITS
    signals: frozenset[signal.Signals] = frozenset()
    writer: StateWriter
    only_reads_pictures: bool

    def __init__(self, config: Config) -> None:
        self.python = config.trainer_python
        self.path = config.trainer_path
        self.inquiry = Inquiry(self.python, self.script)

    @property
    def name(self) -> str:
        return self.writer.value

    @property
    def script(self) -> Path:
        return self.path / kohya.SCRIPT

    def complete(self, context: Context, home: Path, *, new: bool = True) -> Context:
        return settings.complete_training(context, home, new=new)

    def argv(self, context: Context, folder: JobFolder, *, resume: str | None, gpus: int) -> tuple[str, ...]:
        given = kohya.arguments(context, folder, resume, trainer=self.writer)
        return (*kohya.starter(self.python, gpus=gpus), str(self.script), *given)

    def launches(self, gpus: int) -> bool:
        return kohya.needs_launcher(gpus)

    def files(
        self, context: Context, folder: JobFolder, *, pictures: Sequence[Path] | None = None
    ) -> Mapping[str, bytes]:
        """`pictures`: the folder of each subset, if they are not in the job's folder yet."""
        where = subsets.folders(context, folder.dataset) if pictures is None else pictures
        return {
            folder.dataset_config.name: dataset_toml.render(context, where),
            folder.sample_prompts.name: kohya.sample_prompts(context),
        }

    def captions(self, context: Context) -> Captions:
        return dataset_toml.captions(context)

    def progress(self, folder: JobFolder, attempt: Attempt) -> AttemptProgress:
        return AttemptProgress(folder, attempt, printed=True)

    async def options(self) -> list[TrainerOption]:
        context = Context(name="any", **settings.DEFAULTS)
        passed = kohya.passed(context, JobFolder(context.name), trainer=self.writer) | dataset_toml.as_flags()
        # Of the flags that a job cannot give, only those whose setting has a default: the others have paths.
        known = {
            name: words
            for name, words in passed.items()
            if kohya.instead(name) is None or kohya.SETTINGS.get(name) in settings.DEFAULTS
        }
        return flag_list.listed(await self.inquiry.flags(), known)

    def result_problem(self, folder: JobFolder, before: FileStamp | None) -> str | None:
        return result.problem(self.traits.result_file(folder), before)

    def checkpoints(self, context: Context | None, folder: JobFolder) -> list[CheckpointFacts]:
        return state_folders.scan(
            folder.path,
            folder.name,
            reader=self.writer,
            epochs=(context.epochs if context is not None else None) or state_folders.EVER,
            steps_per_epoch=self.steps_per_epoch(context, folder) if context is not None else None,
        )

    def outputs(self, context: Context | None, folder: JobFolder) -> list[Output]:
        per_epoch = self.steps_per_epoch(context, folder) if context is not None else None
        names, pictures = _names_in(folder.path), _names_in(folder.samples)
        last = self._last_moment(self.traits.result_file(folder), per_epoch)
        return [
            *output_names.loras(names, folder.name, steps_per_epoch=per_epoch, last=last),
            *output_names.samples(pictures, folder.name, steps_per_epoch=per_epoch),
        ]

    def _last_moment(self, lora: Path, steps_per_epoch: int | None) -> Moment:
        """When the final LoRA was saved, according to its metadata."""
        try:
            texts = safetensors_header.read(lora).texts
        except (OSError, safetensors_header.NotSafetensors):
            return Moment()
        epoch, step = (text if text is not None and COUNT.fullmatch(text) else None for text in map(texts.get, LAST))
        counted = output_names.moment(epoch, None, steps_per_epoch=steps_per_epoch)
        # sd-scripts counts steps from its last resume.
        if step is None or self.writer is not StateWriter.OURS:
            return counted
        return Moment(counted.epoch, int(step))

    def adopted(
        self, checkpoint: CheckpointFacts, job: Context, folder: JobFolder, *, context: Context
    ) -> CheckpointFacts:
        return state_folders.as_named(
            folder.path / checkpoint.name,
            states.renamed(checkpoint.name, folder.name, context.name, epoch=checkpoint.epoch),
            reader=self.writer,
            epochs=context.epochs or state_folders.EVER,
            steps_per_epoch=self.steps_per_epoch(job, folder),
        )

    def steps_per_epoch(self, context: Context, folder: JobFolder) -> int | None:
        """Steps per epoch with the job's pictures, from which the steps of sd-scripts' states are computed; None if
        there are no pictures. Blocks."""
        return steps_per_epoch(context, subsets.folders(context, folder.dataset))

    def kept_checkpoints(self, context: Context) -> int:
        return kohya.kept_states(context)

    def leftovers(self, folder: JobFolder) -> Sequence[Path]:
        return state_folders.unfinished(folder.path, folder.name)

    def mend(self, folder: JobFolder) -> Sequence[str]:
        return [
            f"the damaged cache {name} was removed"
            for place in folder.picture_folders()
            for name in caches.remove_torn(place)
        ]

    async def estimate(self, question: Question, problems: Sequence[Problem]) -> int:
        """Bytes that the training will save in total, by its settings and the headers of its models; 0 if there are
        problems."""
        if problems:
            return 0
        files = f"the models of {question.context.name}"
        return await lanes.answer(files, planned_bytes, question.context)


def steps_per_epoch(context: Context, pictures: Sequence[Path]) -> int | None:
    """Steps per epoch with the pictures in the folders of its subsets; None if one has none. Blocks."""
    counts = [_pictures_in(folder) for folder in pictures]
    return dataset_toml.steps_per_epoch(context, counts) if all(counts) else None


def _pictures_in(folder: Path) -> int:
    """How many pictures there are; 0 if the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sum(1 for entry in entries if Path(entry.name).suffix.lower() in PICTURES)
    except OSError:
        return 0


def _names_in(folder: Path) -> list[str]:
    """The names in a folder; empty if it does not exist."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
