# SPDX-License-Identifier: Apache-2.0
"""Traces of hangs beside which something moves that is not the job's, or is not progress."""

from collections.abc import Sequence

from fluxgym.messages import Phase
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
    """Nothing is known of its phase, and the GPU is a game's: none of the job's processes is on it."""
    dead = like(hung(None), gpu=60, on_gpu=(STRANGER,))
    return [Part(seconds=30 * MINUTE, phase=None, cpu=1.0, log=BAR), dead]


@trace("still", within=3600)
def a_dead_program_beside_a_desktop() -> Sequence[Part]:
    """A desktop draws on the GPU, which is no compute process: NVML lists none at all."""
    dead = like(hung(None), gpu=9, on_gpu=())
    return [Part(seconds=30 * MINUTE, phase=None, cpu=1.0, log=BAR), dead]


@trace("still", within=600)
def an_import_that_hangs_beside_a_game() -> Sequence[Part]:
    """Python waits for a module while somebody plays."""
    return [start(), hung(Phase.STARTING, gpu=60, on_gpu=(STRANGER,))]


@trace("still", within=900)
def a_dead_load_beside_a_game() -> Sequence[Part]:
    """No byte of the models comes any more while somebody plays."""
    return on_gpu((STRANGER,), [start(), read(9 * GB), hung(Phase.LOADING, gpu=60)])


@trace("still", within=900)
def a_dead_load_that_reads_proc() -> Sequence[Part]:
    """The load hangs, and a thread reads /proc ten times a second: many system calls, and not a byte that moves."""
    return [start(), read(9 * GB), hung(Phase.LOADING, cpu=0.03)]


@trace("gpu_idle", within=300)
def caching_on_the_processor_that_dies_beside_a_game() -> Sequence[Part]:
    """The encoder is on the processor and waits for a lock; the load of the GPU is a game's."""
    caching = [like(cache(20, each=120), gpu=80, cpu=7.5), hung(Phase.CACHING, gpu=80)]
    return [start(), read(), *on_gpu((STRANGER,), caching)]


@trace("gpu_idle", within=300)
def a_trainer_that_lost_its_gpu_to_a_game() -> Sequence[Part]:
    """Its worker on the GPU was killed, and the rest waits for it for ever; a game has the GPU now."""
    return [*up_to_training(), train(30, each=100), hung(Phase.TRAINING, gpu=90, on_gpu=(STRANGER,))]


@trace("step", within=300)
def a_deadlock_in_a_pod_that_shares_its_gpu() -> Sequence[Part]:
    """Another pod has the GPU at 92 per cent; its load can't be told from the job's, but no step comes."""
    shared = [*up_to_training(), train(30, each=3), hung(Phase.TRAINING, gpu=92, watts=380)]
    return on_gpu((ELSEWHERE, ELSEWHERE + 1), shared)


@trace("progress", within=1800)
def a_first_step_in_a_pod_that_never_ends() -> Sequence[Part]:
    """The same at the first step: half an hour of somebody's load without one."""
    return on_gpu((ELSEWHERE,), [*up_to_training(), hung(Phase.TRAINING, gpu=92, watts=380)])


@trace("gpu_idle", "step", within=300)
def a_deadlock_in_a_pod() -> Sequence[Part]:
    """Nobody works on the GPU, so it does not matter whose pids NVML lists."""
    return on_gpu((ELSEWHERE,), [*up_to_training(), train(30), hung(Phase.TRAINING)])


@trace("progress", within=1800)
def a_spin_in_a_pod_while_it_samples() -> Sequence[Part]:
    """A kernel that never ends, in a pod: the load is the job's, and it is no progress either."""
    spin = hung(Phase.SAMPLING, cpu=1.0, gpu=100, watts=125)
    return on_gpu((ELSEWHERE,), [*up_to_training(), train(20), sample(2), spin])


@trace("step", within=300)
def steps_that_repeat() -> Sequence[Part]:
    """After half an hour it begins anew at step 0, and goes through steps 0 to 7 over and over."""
    return [*up_to_training(), train(30), like(AGAIN, hang=True)]


@trace("progress", "step", within=1800)
def steps_that_repeat_from_the_start() -> Sequence[Part]:
    """It never comes beyond step 7, and perhaps no look saw one of the first eight: then none says what they take."""
    return [*up_to_training(), like(AGAIN, seconds=10), like(AGAIN, seconds=HOUR, hang=True)]


@trace("step", within=300)
def steps_that_repeat_in_a_pod() -> Sequence[Part]:
    """The same where nobody can say whose the GPU's load is."""
    return on_gpu((ELSEWHERE, OWN), [*up_to_training(), train(30), like(AGAIN, hang=True)])


@trace("step", "progress", within=1800)
def a_trainer_that_starts_itself_anew() -> Sequence[Part]:
    """It crashes at step 7 and starts itself anew: it loads, caches, samples and saves, over and over."""
    again = [start(), read(9 * GB), cache(40), like(AGAIN, seconds=100), sample(1, each=20), save(rate=100e6)]
    return [*up_to_training(), train(5), like(AGAIN, seconds=1, hang=True), *again * 20]


@trace("gpu_idle", within=300)
def a_deadlock_whose_progress_file_is_gone() -> Sequence[Part]:
    """metrics.jsonl was moved away. The missing steps prove nothing, but nothing else moves either."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, told=False)]
