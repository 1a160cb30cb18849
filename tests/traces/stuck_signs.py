# SPDX-License-Identifier: Apache-2.0
"""Traces of hangs beside which something moves that is not the job's, or is not progress."""

from collections.abc import Sequence

from fluxgym.protocol.messages import Phase
from tests.traces.parts import (
    BAR,
    GB,
    HOUR,
    MINUTE,
    cache,
    hung,
    like,
    on_gpu,
    read,
    sample,
    save,
    start,
    train,
    up_to_training,
)
from tests.traces.simulator import ELSEWHERE, OWN, STRANGER, Part
from tests.traces.trace import Catalogue

SIGNS = Catalogue()
trace = SIGNS.stuck

AGAIN = Part(
    seconds=20 * MINUTE, phase=Phase.TRAINING, step_every=1.2, repeats=8, cpu=1.0, gpu=97, watts=410, log=BAR
)
"""Steps 0 to 7, repeatedly."""


@trace("still", within=3600)
def a_dead_program_beside_a_game() -> Sequence[Part]:
    """The program's phase is unknown, and the GPU's load is a game's: none of the job's processes is on it."""
    dead = like(hung(None), gpu=60, on_gpu=(STRANGER,))
    return [Part(seconds=30 * MINUTE, phase=None, cpu=1.0, log=BAR), dead]


@trace("still", within=3600)
def a_dead_program_beside_a_desktop() -> Sequence[Part]:
    """A desktop draws on the GPU, which is not a compute process: NVML lists none at all."""
    dead = like(hung(None), gpu=9, on_gpu=())
    return [Part(seconds=30 * MINUTE, phase=None, cpu=1.0, log=BAR), dead]


@trace("still", within=600)
def an_import_that_hangs_beside_a_game() -> Sequence[Part]:
    """Python waits for a module while somebody plays a game."""
    return [start(), hung(Phase.STARTING, gpu=60, on_gpu=(STRANGER,))]


@trace("still", within=900)
def a_dead_load_beside_a_game() -> Sequence[Part]:
    """No more bytes of the models arrive while somebody plays a game."""
    return on_gpu((STRANGER,), [start(), read(9 * GB), hung(Phase.LOADING, gpu=60)])


@trace("still", within=900)
def a_dead_load_that_reads_proc() -> Sequence[Part]:
    """Loading hangs, and a thread reads /proc ten times a second: many system calls, but not a byte really moves."""
    return [start(), read(9 * GB), hung(Phase.LOADING, cpu=0.03)]


@trace("gpu_idle", within=300)
def caching_on_the_processor_that_dies_beside_a_game() -> Sequence[Part]:
    """The encoder runs on the processor and waits for a lock; the GPU's load is a game's."""
    caching = [like(cache(20, each=120), gpu=80, cpu=7.5), hung(Phase.CACHING, gpu=80)]
    return [start(), read(), *on_gpu((STRANGER,), caching)]


@trace("gpu_idle", within=300)
def a_trainer_that_lost_its_gpu_to_a_game() -> Sequence[Part]:
    """The worker on the GPU was killed, and the rest waits for it forever; a game uses the GPU now."""
    return [*up_to_training(), train(30, each=100), hung(Phase.TRAINING, gpu=90, on_gpu=(STRANGER,))]


@trace("step", within=300)
def a_deadlock_in_a_pod_that_shares_its_gpu() -> Sequence[Part]:
    """Another pod keeps the GPU at 92 per cent; its load can't be told from the job's, but no step comes."""
    shared = [*up_to_training(), train(30, each=3), hung(Phase.TRAINING, gpu=92, watts=380)]
    return on_gpu((ELSEWHERE, ELSEWHERE + 1), shared)


@trace("progress", within=1800)
def a_first_step_in_a_pod_that_never_ends() -> Sequence[Part]:
    """The same at the first step: half an hour of unattributed load without a step."""
    return on_gpu((ELSEWHERE,), [*up_to_training(), hung(Phase.TRAINING, gpu=92, watts=380)])


@trace("gpu_idle", "step", within=300)
def a_deadlock_in_a_pod() -> Sequence[Part]:
    """The GPU is idle, so it does not matter whose pids NVML lists."""
    return on_gpu((ELSEWHERE,), [*up_to_training(), train(30), hung(Phase.TRAINING)])


@trace("progress", within=1800)
def a_spin_in_a_pod_while_it_samples() -> Sequence[Part]:
    """A kernel never ends, in a pod: the load is the job's, but it is not progress either."""
    spin = hung(Phase.SAMPLING, cpu=1.0, gpu=100, watts=125)
    return on_gpu((ELSEWHERE,), [*up_to_training(), train(20), sample(2), spin])


@trace("step", within=300)
def steps_that_repeat() -> Sequence[Part]:
    """After half an hour the trainer starts over at step 0, and repeats steps 0 to 7 over and over."""
    return [*up_to_training(), train(30), like(AGAIN, hang=True)]


@trace("progress", "step", within=1800)
def steps_that_repeat_from_the_start() -> Sequence[Part]:
    """It never gets beyond step 7; if no look saw one of the first eight steps, nothing says how long they take."""
    return [*up_to_training(), like(AGAIN, seconds=10), like(AGAIN, seconds=HOUR, hang=True)]


@trace("step", within=300)
def steps_that_repeat_in_a_pod() -> Sequence[Part]:
    """The same where the GPU's load can't be attributed."""
    return on_gpu((ELSEWHERE, OWN), [*up_to_training(), train(30), like(AGAIN, hang=True)])


@trace("step", "progress", within=1800)
def a_trainer_that_starts_itself_anew() -> Sequence[Part]:
    """The trainer crashes at step 7 and restarts itself: it loads, caches, samples and saves, over and over."""
    again = [start(), read(9 * GB), cache(40), like(AGAIN, seconds=100), sample(1, each=20), save(rate=100e6)]
    return [*up_to_training(), train(5), like(AGAIN, seconds=1, hang=True), *again * 20]


@trace("gpu_idle", within=300)
def a_deadlock_whose_progress_file_is_gone() -> Sequence[Part]:
    """metrics.jsonl was moved away: missing steps prove nothing, but nothing else moves either."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, told=False)]
