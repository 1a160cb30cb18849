# SPDX-License-Identifier: Apache-2.0
"""Traces of healthy runs with few signs of life, or with signs that may belong to other programs."""

from collections.abc import Sequence

from fluxgym.protocol.messages import Phase
from tests.traces.parts import (
    BAR,
    HOUR,
    MB,
    MINUTE,
    cache,
    compute,
    finish,
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
trace = SIGNS.healthy
by_its_gpu = SIGNS.healthy_by_its_gpu

KERNEL = Part(seconds=25 * MINUTE, phase=Phase.SAMPLING, cpu=0.01, gpu=99, watts=430)
"""A sample whose process sleeps until the GPU is done. Nothing but the GPU's load shows that it works."""


@trace
def a_training_in_a_pod() -> Sequence[Part]:
    """NVML lists the trainer by its pid on the host, which matches no process in the pod."""
    parts = [*up_to_training(), train(15), sample(3), save(), train(15), finish()]
    return on_gpu((ELSEWHERE,), parts)


@by_its_gpu
def a_long_kernel() -> Sequence[Part]:
    """The process sleeps for 25 minutes until the GPU is done: only NVML's list of processes shows its life."""
    return [*up_to_training(), train(10), KERNEL, sample(1), train(10)]


@by_its_gpu
def a_long_kernel_beside_a_game() -> Sequence[Part]:
    """The same with another program on the GPU: the load may be the job's, since the job is on the GPU too."""
    return on_gpu((STRANGER, OWN), [*up_to_training(), train(10, each=3), KERNEL, sample(1), train(10, each=3)])


@by_its_gpu
def a_long_kernel_in_a_pod() -> Sequence[Part]:
    """The same in a pod, where NVML's pids match no process: the load may be the job's."""
    return on_gpu((ELSEWHERE,), [*up_to_training(), train(10), KERNEL, sample(1), train(10)])


@by_its_gpu
def a_long_kernel_in_a_pod_by_chance() -> Sequence[Part]:
    """The same where one of the host's pids is, by chance, also the pid of a process in the pod."""
    return on_gpu((STRANGER, ELSEWHERE), [*up_to_training(), train(10), KERNEL, sample(1), train(10)])


@by_its_gpu
def a_long_kernel_under_windows() -> Sequence[Part]:
    """The same under WSL, whose driver lists no processes at all."""
    return on_gpu(None, [*up_to_training(), train(10), KERNEL, sample(1), train(10)])


@trace
def a_first_kernel_while_processes_cannot_be_listed() -> Sequence[Part]:
    """For a while it is unknown which processes are the job's and whose the load is: that is not idleness."""
    blind = like(train(12, each=400), seen=False, log=0)
    return [*up_to_training(), train(40, each=400), blind, train(40, each=400)]


@by_its_gpu
def a_program_in_a_pod_whose_gpu_is_all_that_moves() -> Sequence[Part]:
    """In a pod, a program whose phase is unknown waits for its GPU for 3 hours."""
    works = Part(seconds=3 * HOUR, phase=None, cpu=0.01, gpu=95)
    return on_gpu((ELSEWHERE,), [Part(seconds=120, phase=None, cpu=1.0, io=30 * MB, log=BAR), works])


@trace
def a_load_beside_a_game() -> Sequence[Part]:
    """Somebody plays a game while the models are loaded and cast: the job is not on the GPU, but a core is busy."""
    before = on_gpu((STRANGER,), [like(part, gpu=70) for part in (start(), read(), compute(25 * MINUTE))])
    return [*before, *on_gpu((STRANGER, OWN), [cache(30), train(20, each=3)])]


@trace
def caching_on_the_processor_beside_a_game() -> Sequence[Part]:
    """The encoder runs on the processor, and the GPU's load is a game's: a picture takes two minutes."""
    caching = on_gpu((STRANGER,), [like(cache(20, each=120), gpu=80, cpu=7.5)])
    return [start(), read(), *caching, train(10)]


@trace
def models_from_a_network_volume_that_is_mapped() -> Sequence[Part]:
    """FUSE delivers 2 MB/s, visible only as waits for pages: two of the models take 20 minutes on an idle core."""
    return [start(), like(read(2400 * MB, rate=2 * MB), cpu=0.01), compute(40), cache(40), train(10)]


@trace
def a_resume_below_where_the_last_attempt_came() -> Sequence[Part]:
    """Slow steps after an older checkpoint: each one counts, since the higher ones belonged to another attempt."""
    return [start(), read(), compute(40), train(60, each=200)]


@trace
def a_progress_file_that_is_replaced() -> Sequence[Part]:
    """An editor replaces metrics.jsonl with a copy: for the next hour, the training's progress is unknown."""
    return [*up_to_training(), train(20), like(train(60), told=False)]
