# SPDX-License-Identifier: Apache-2.0
"""The runs that bench/record_traces.py records: what is run, what happens to it, and why it must be judged so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fluxgym.protocol.messages import Phase
from fluxgymd.core.watchdog.observation import Observation
from tests.daemon.running import RunningDaemon

JOB = "recorded"
SAMPLES = {"sample_prompts": ["a red disc --s 8", "a blue disc --s 20"], "sample_every_epochs": 4}
LONG = {"epochs": 10_000, "save_every_epochs": 100}


class Listed(Enum):
    """The processes that NVML lists for the GPU of a run."""

    JOB = "job"
    GAME = "game"
    """A process of this machine that does not belong to the job."""
    HOST = "host"
    """A pid that no process here has, like the host's pids inside a pod."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What the tests' stand-in for NVML reports to the real pynvml."""

    utilization: int
    listed: tuple[Listed, ...] | None
    """None: this driver does not list processes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recording: the run, and the reason for its verdict."""

    reason: str
    job: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the tests' usual job."""
    trainer: str | None = None
    """The name of a program of bench/trace_trainers.py that runs in place of the real trainer."""
    gpu: Gpu | None = None
    stop_at: Callable[[Observation], bool] | None = None
    """The trainer is stopped by SIGSTOP at the first look for which this holds; None: it is never stopped."""
    hang: str | None = None
    """The value of --debug_hang (docs/trainer.md): where the trainer itself hangs."""
    interfere: Callable[[RunningDaemon], None] | None = None
    """Called once the job trains, to change its files."""
    resumes: bool = False
    """The first attempt is killed between two checkpoints, and the second one is recorded."""
    looks: int | None = None
    """How many looks are recorded of a run that neither ends nor stands still."""
    dead: bool = False
    """The run hangs, although none of the fields above makes it hang."""

    @property
    def expected(self) -> str:
        return "stuck" if self.dead or self.stop_at is not None or self.hang is not None else "healthy"


def replace_records(daemon: RunningDaemon) -> None:
    """Replaces metrics.jsonl as an editor does that saves a copy, and moves training.log as logrotate does."""
    folder = daemon.folder(JOB)
    metrics, log = folder / "metrics.jsonl", folder / "training.log"
    copy = metrics.with_suffix(".new")
    copy.write_bytes(metrics.read_bytes())
    copy.rename(metrics)
    log.rename(log.with_suffix(".log.1"))


def move_dataset(daemon: RunningDaemon) -> None:
    dataset = daemon.folder(JOB) / "dataset"
    dataset.rename(dataset.with_name("elsewhere"))


USUAL = {
    "tiny_training": Run(
        reason="It loads, caches, trains, samples and saves until it is finished.",
        job={"epochs": 12, "save_every_epochs": 4, **SAMPLES},
    ),
    "tiny_accumulation": Run(
        reason="Each step accumulates 32 batches, so steps are rare.",
        job={"epochs": 20, "save_every_epochs": 20, "options": {"gradient_accumulation_steps": ["32"]}},
    ),
    "sigstop_in_training": Run(
        reason="The trainer's process was stopped by SIGSTOP between two steps.",
        job=LONG,
        stop_at=lambda seen: (seen.step or 0) > 100,
    ),
    "sigstop_in_loading": Run(
        reason="The trainer's process was stopped by SIGSTOP while it loaded its models.",
        stop_at=lambda seen: seen.phase is Phase.LOADING,
    ),
    "sigstop_in_sampling": Run(
        reason="The trainer's process was stopped by SIGSTOP while it made a sample.",
        job={**LONG, **SAMPLES},
        stop_at=lambda seen: seen.phase is Phase.SAMPLING,
    ),
    "deadlock_in_a_batch": Run(
        reason="A thread that prepares batches waits for a lock that it holds, and the training for the batch.",
        hang="deadlock@batches:20",
    ),
    "spin_in_training": Run(
        reason="A step never ends and keeps a core busy.",
        hang="spin@training:20",
    ),
    "spin_in_caching": Run(
        reason="A picture is never fully encoded, and a core stays busy with it.",
        hang="spin@caching:5",
    ),
    "asleep_in_sampling": Run(
        reason="A denoising step waits forever.",
        job=SAMPLES,
        hang="sleep@sampling:4",
    ),
    "asleep_in_loading": Run(
        reason="Nothing moves before the transformer is read.",
        hang="sleep@loading",
    ),
    "write_that_blocks_in_saving": Run(
        reason="Half of a state is written; the rest waits for a reader that never comes.",
        hang="write@saving",
    ),
}

SIGNS = {
    "tiny_training_in_a_pod": Run(
        reason="NVML lists a pid of the host that matches no process here, and the training runs to its end.",
        job={"epochs": 12, "save_every_epochs": 4},
        gpu=Gpu(utilization=97, listed=(Listed.HOST,)),
    ),
    "tiny_training_beside_a_game": Run(
        reason="NVML lists the trainer beside another program, and the training runs to its end.",
        job={"epochs": 12, "save_every_epochs": 4},
        gpu=Gpu(utilization=97, listed=(Listed.GAME, Listed.JOB)),
    ),
    "records_that_are_replaced": Run(
        reason="An editor replaces metrics.jsonl and logrotate moves training.log: the steps are no longer known.",
        job=LONG,
        interfere=replace_records,
        looks=120,
    ),
    "a_dataset_that_is_moved": Run(
        reason="Somebody moves the pictures away, but the trainer has them in memory: steps come.",
        job=LONG,
        interfere=move_dataset,
        looks=80,
    ),
    "a_resume_from_an_older_checkpoint": Run(
        reason="The previous attempt got further than the checkpoint from which this one resumes.",
        job={"epochs": 200, "save_every_epochs": 4},
        resumes=True,
        looks=80,
    ),
    "a_model_from_the_page_cache": Run(
        reason="A file is read slowly without touching storage: only its position moves.",
        trainer="reads_a_model",
        looks=150,
    ),
    "a_download_into_a_file": Run(
        reason="200 KB/s are written to a file, and nothing else moves.",
        trainer="downloads",
        looks=150,
    ),
    "a_kernel_of_its_own": Run(
        reason="The process sleeps until its GPU is done, and NVML lists it there: nothing else moves.",
        trainer="sleeps",
        gpu=Gpu(utilization=97, listed=(Listed.JOB,)),
        looks=150,
    ),
    "a_kernel_in_a_pod": Run(
        reason="The same in a pod, where NVML's pids match no process.",
        trainer="sleeps",
        gpu=Gpu(utilization=97, listed=(Listed.HOST,)),
        looks=150,
    ),
    "a_kernel_under_windows": Run(
        reason="The same where the driver lists no processes at all.",
        trainer="sleeps",
        gpu=Gpu(utilization=97, listed=None),
        looks=150,
    ),
    "dead_beside_a_game": Run(
        reason="It sleeps forever, and the load of its GPU comes from another program.",
        trainer="sleeps",
        gpu=Gpu(utilization=60, listed=(Listed.GAME,)),
        looks=150,
        dead=True,
    ),
    "dead_beside_a_desktop": Run(
        reason="It sleeps forever, and the load of its GPU comes from a desktop, which is not a compute process.",
        trainer="sleeps",
        gpu=Gpu(utilization=9, listed=()),
        looks=150,
        dead=True,
    ),
    "dead_that_reads_proc": Run(
        reason="It does nothing while a thread reads /proc.",
        trainer="reads_proc",
        looks=150,
        dead=True,
    ),
    "dead_that_talks_to_itself": Run(
        reason="Two of its processes keep a connection busy without doing any work.",
        trainer="talks",
        looks=150,
        dead=True,
    ),
    "a_load_that_hangs_and_reads_proc": Run(
        reason="Loading hangs while a thread reads /proc.",
        trainer="loads_and_reads_proc",
        looks=80,
        dead=True,
    ),
    "asleep_in_training_beside_a_game": Run(
        reason="A step never ends. The trainer is still on the GPU, where another program works.",
        gpu=Gpu(utilization=92, listed=(Listed.GAME, Listed.JOB)),
        hang="sleep@training:20",
    ),
    "asleep_in_caching_beside_a_game": Run(
        reason="A picture is never encoded. The trainer isn't on the GPU, where another program works.",
        gpu=Gpu(utilization=92, listed=(Listed.GAME,)),
        hang="sleep@caching:5",
    ),
    "asleep_in_training_in_a_pod": Run(
        reason="A step never ends, and the GPU's load can't be attributed.",
        gpu=Gpu(utilization=92, listed=(Listed.HOST,)),
        hang="sleep@training:20",
    ),
    "deadlock_whose_records_are_gone": Run(
        reason="Its files are replaced, then it hangs: missing steps prove nothing, but nothing else moves either.",
        job=LONG,
        gpu=Gpu(utilization=0, listed=(Listed.JOB,)),
        interfere=replace_records,
        hang="deadlock@batches:60",
    ),
    "steps_0_to_7_again_and_again": Run(
        reason="It makes steps 0 to 7 over and over.",
        trainer="repeats_steps",
        looks=100,
        dead=True,
    ),
    "a_trainer_that_starts_anew": Run(
        reason="It loads, caches, trains eight steps, saves and starts over, again and again.",
        trainer="starts_anew",
        looks=150,
        dead=True,
    ),
}

RUNS: Mapping[str, Run] = USUAL | SIGNS
