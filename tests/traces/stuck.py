# SPDX-License-Identifier: Apache-2.0
"""Traces of runs that hang, each with the rules that may find it and the limit within which it must be found.

The limits are numbers here and are not read from the code, so that a trace fails if a limit in the code grows.
"""

from collections.abc import Sequence
from typing import Any

from fluxgym.protocol.messages import Phase
from tests.traces.parts import (
    BAR,
    GB,
    HOUR,
    MB,
    MINUTE,
    cache,
    compute,
    hung,
    like,
    read,
    sample,
    save,
    start,
    train,
    up_to_training,
)
from tests.traces.simulator import Part
from tests.traces.trace import Catalogue

STUCK = Catalogue()
trace = STUCK.stuck

SPIN: dict[str, Any] = {"cpu": 1.0, "gpu": 100, "watts": 125}
"""Kernels that wait for something in a loop: the GPU is busy but draws little power."""
NFS: dict[str, Any] = {"blocked": 8, "blocked_in": "rpc_wait_bit_killable", "cpu": 0.0}


@trace("gpu_idle", "step", within=300)
def loader_deadlock() -> Sequence[Part]:
    """Workers and the main thread wait for each other: no step, no processor time, GPU idle."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING)]


@trace("gpu_idle", within=300)
def loader_deadlock_on_a_full_disk() -> Sequence[Part]:
    """The same while nothing can be written: missing steps prove nothing, but nothing else moves either."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, disk_free=0)]


@trace("gpu_idle", within=300)
def loader_deadlock_before_the_first_step() -> Sequence[Part]:
    """The same before the first step, so no history says how long a step takes."""
    return [*up_to_training(), hung(Phase.TRAINING)]


@trace("step", within=300)
def loader_deadlock_with_a_heartbeat() -> Sequence[Part]:
    """Deadlocked, but a thread of the trainer writes a line every ten seconds: a growing log is not progress."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, log=8)]


@trace("step", within=300)
def loader_deadlock_with_spinning_workers() -> Sequence[Part]:
    """The workers poll an empty queue and use two cores: processor time is not progress."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, cpu=2.0)]


@trace("gpu_idle", "step", within=300)
def nfs_hang_in_training() -> Sequence[Part]:
    """The file server with the pictures is gone: threads are in state D, which even SIGKILL does not end."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, **NFS)]


@trace("still", within=900)
def nfs_hang_in_loading() -> Sequence[Part]:
    """The file server with the models goes away in the middle of a file: no more bytes arrive."""
    return [start(), read(9 * GB, rate=100 * MB), hung(Phase.LOADING, **NFS)]


@trace("step", within=300)
def nccl_spin() -> Sequence[Part]:
    """A collective waits for a rank that is gone: 100 per cent at a quarter of the power, and a busy core."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, **SPIN)]


@trace("step", within=300)
def one_rank_of_two_is_dead() -> Sequence[Part]:
    """One GPU is idle and the other spins."""
    return [*up_to_training(), like(train(30), gpu=(97, 97)), hung(Phase.TRAINING, cpu=1.0, gpu=(0, 100), watts=120)]


@trace("step", within=300)
def sysmem_fallback() -> Sequence[Part]:
    """The driver moves GPU memory into the host's: the GPU is 100 per cent busy, and the next step never ends."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, cpu=1.0, gpu=100, watts=110, io=0.2 * MB)]


@trace("progress", within=1800)
def sysmem_fallback_from_the_start() -> Sequence[Part]:
    """The same at the first step: 45 minutes at 100 per cent without a step, as users reported."""
    return [*up_to_training(), hung(Phase.TRAINING, cpu=1.0, gpu=100, watts=110)]


@trace("progress", within=1800)
def a_compilation_that_never_ends() -> Sequence[Part]:
    """The compiler's workers wait for each other and poll: half an hour of processor time, but no first step."""
    return [*up_to_training(), hung(Phase.TRAINING, cpu=3.0)]


@trace("gpu_fault", "step", within=300)
def xid_79() -> Sequence[Part]:
    """The GPU has fallen off the bus; the trainer polls it and does not notice."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, xid=79, lost=True, cpu=1.0)]


@trace("gpu_fault", within=300)
def xid_79_in_caching() -> Sequence[Part]:
    """The same in caching, whose own limit is half an hour: because of the driver's report it is five minutes."""
    return [start(), read(), cache(300), hung(Phase.CACHING, xid=79, lost=True, cpu=1.0)]


@trace("gpu_fault", within=300)
def xid_119_in_sampling() -> Sequence[Part]:
    """The GPU's own processor does not answer (Xid 119): the driver keeps logging it, and NVML goes silent."""
    told = hung(Phase.SAMPLING, hours=0.1, xid=119, cpu=1.0, gpu=100, log=40)
    return [*up_to_training(), train(20), sample(2), told, hung(Phase.SAMPLING, cpu=1.0, nvml=False, log=40)]


@trace("step", within=300)
def swap_thrash_in_training() -> Sequence[Part]:
    """The host's memory is full: 250 MB/s of swapping, all tasks wait for memory, and no step gets through."""
    thrash: dict[str, Any] = {"io": 250 * MB, "cpu": 0.4, "blocked": 12, "swap": 20 << 30, "pressure": 85.0, "gpu": 8}
    return [*up_to_training(), train(30), hung(Phase.TRAINING, **thrash)]


@trace("progress", within=3600)
def swap_thrash_in_loading() -> Sequence[Part]:
    """The models do not fit: the trainer reads its own swap over and over, and loading does not end."""
    thrash: dict[str, Any] = {"io": 250 * MB, "cpu": 0.4, "blocked": 12, "swap": 20 << 30, "pressure": 85.0}
    return [start(), read(20 * GB), hung(Phase.LOADING, **thrash)]


@trace("progress", within=4 * HOUR)
def swap_thrash_where_pressure_is_not_told() -> Sequence[Part]:
    """The same on a kernel without PSI: it looks like a slow load, and only the total limit finds it."""
    return [start(), hung(Phase.LOADING, hours=5, io=120 * MB, cpu=0.4, blocked=12, swap=20 << 30, pressure=None)]


@trace("stopped", "gpu_idle", "step", within=300)
def a_frozen_cgroup() -> Sequence[Part]:
    """The scope was frozen and never thawed."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, frozen=True, cpu=0.0)]


@trace("stopped", "gpu_idle", "step", within=300)
def a_stopped_trainer() -> Sequence[Part]:
    """The trainer gets SIGSTOP, and nobody continues it."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, stopped=True, cpu=0.0)]


@trace("stopped", within=300)
def a_stopped_trainer_whose_workers_spin() -> Sequence[Part]:
    """The main process is stopped while loading; its helpers poll and read, so much moves."""
    return [start(), read(5 * GB), hung(Phase.LOADING, stopped=True, cpu=1.5, io=1 * MB)]


@trace("progress", within=1800)
def hang_in_caching_spinning() -> Sequence[Part]:
    """A kernel of the encoder never ends: the GPU is at 100 per cent, a core polls, and no picture is finished."""
    return [start(), read(), cache(200), hung(Phase.CACHING, **SPIN)]


@trace("gpu_idle", within=300)
def hang_in_caching_dead() -> Sequence[Part]:
    """A lock is never released while pictures are cached: nothing moves."""
    return [start(), read(), cache(200), hung(Phase.CACHING)]


@trace("still", within=600)
def hang_in_caching_without_nvml() -> Sequence[Part]:
    """The same where nothing is known about the GPU: it may be busy, but everything else is idle."""
    parts = [start(), read(), cache(200), hung(Phase.CACHING)]
    return [like(part, nvml=False) for part in parts]


@trace("progress", within=1800)
def hang_in_sampling_spinning() -> Sequence[Part]:
    """The third sample never ends; GPU and processor are busy."""
    return [*up_to_training(), train(20), sample(2), hung(Phase.SAMPLING, **SPIN)]


@trace("gpu_idle", within=300)
def hang_in_sampling_dead() -> Sequence[Part]:
    """Sampling waits for a stream that was never recorded: nothing moves."""
    return [*up_to_training(), train(20), sample(2), hung(Phase.SAMPLING)]


@trace("progress", within=1800)
def hang_in_sampling_beside_a_desktop() -> Sequence[Part]:
    """The same on a card that draws the desktop: it stays 9 per cent busy with another program's work."""
    return [*up_to_training(), train(20), sample(2), hung(Phase.SAMPLING, gpu=9, watts=70)]


@trace("still", within=1200)
def hang_in_saving() -> Sequence[Part]:
    """The volume goes away in the middle of a state: the write waits in the kernel forever."""
    return [*up_to_training(), train(20), save(0.2 * GB), hung(Phase.SAVING, **NFS)]


@trace("progress", within=3600)
def a_save_that_is_tried_again_and_again() -> Sequence[Part]:
    """The volume refuses every write, and the trainer logs a line and tries again: no byte is saved."""
    return [*up_to_training(), train(20), hung(Phase.SAVING, cpu=0.3, log=60, io=0.1 * MB)]


@trace("progress", within=4 * HOUR)
def a_save_that_never_gets_whole() -> Sequence[Part]:
    """A state fails near its end and is written again, over and over: bytes flow, but none is ever complete."""
    write, remove = save(0.5 * GB, rate=2 * MB), Part(seconds=10, phase=Phase.SAVING, writes=-50 * MB, cpu=0.2)
    return [*up_to_training(), train(20), like(write, hang=True), remove, *[write, remove] * 65]


@trace("still", within=600)
def a_hung_download() -> Sequence[Part]:
    """The server stops sending, and the socket has no timeout."""
    comes = Part(seconds=10 * MINUTE, phase=Phase.DOWNLOADING, cpu=0.1, io=12 * MB)
    return [start(), comes, hung(Phase.DOWNLOADING)]


@trace("still", within=600)
def a_download_that_trickles() -> Sequence[Part]:
    """2 KB/s keep the connection alive: at this rate, the model would take five months."""
    comes = Part(seconds=10 * MINUTE, phase=Phase.DOWNLOADING, cpu=0.1, io=12 * MB)
    return [start(), comes, hung(Phase.DOWNLOADING, io=2000)]


@trace("progress", within=3600)
def a_download_that_is_tried_again() -> Sequence[Part]:
    """The server answers every try with an error, which is logged: much moves, but no byte arrives."""
    return [start(), hung(Phase.DOWNLOADING, cpu=0.1, log=30, io=3000)]


@trace("still", within=600)
def an_import_that_hangs() -> Sequence[Part]:
    """Python waits for a module on a dead volume."""
    return [start(), hung(Phase.STARTING, **NFS)]


@trace("progress", within=3600)
def cuda_that_never_starts() -> Sequence[Part]:
    """After the models are loaded, the first call to the GPU polls the driver forever."""
    return [start(), read(), hung(Phase.LOADING, cpu=1.0)]


@trace("step", within=300)
def a_hang_beside_another_program() -> Sequence[Part]:
    """Deadlocked while another program keeps the same GPU at 90 per cent: the GPU's load proves nothing."""
    return [*up_to_training(), train(30, each=3), hung(Phase.TRAINING, gpu=92, watts=380)]


@trace("step", within=300)
def a_hang_when_nvml_hangs() -> Sequence[Part]:
    """The driver is wedged: the trainer polls, and NVML hangs too. Unknown does not mean healthy."""
    return [*up_to_training(), train(30), hung(Phase.TRAINING, nvml=False, cpu=1.0)]


@trace("step", within=300)
def a_hang_after_a_night_asleep() -> Sequence[Part]:
    """After 9 hours of suspend, steps come for 10 minutes, then none: the night must not count as a 9-hour step."""
    return [*up_to_training(), train(20), like(train(10), asleep=9 * HOUR), hung(Phase.TRAINING, **SPIN)]


@trace("step", within=300)
def a_hang_after_the_clock_was_set() -> Sequence[Part]:
    """The clock was set forward by 3 hours between two steps; that must not count as a slow step."""
    return [*up_to_training(), train(20), like(train(1), clock_set=3 * HOUR), hung(Phase.TRAINING, **SPIN)]


@trace("gpu_idle", "step", within=300)
def a_hang_while_the_daemon_was_away() -> Sequence[Part]:
    """A minute after the hang, the daemon was stopped for two hours: it still has to watch for five minutes."""
    away = like(hung(Phase.TRAINING, hours=2), looked_at=False)
    return [*up_to_training(), train(20), hung(Phase.TRAINING, hours=1 / 60), away, hung(Phase.TRAINING)]


@trace("step", within=495)
def a_hang_of_slow_steps() -> Sequence[Part]:
    """Steps take 90 s: five times the slowest (99 s) may pass, and no more."""
    return [*up_to_training(), train(200, each=90), hung(Phase.TRAINING, **SPIN)]


@trace("step", within=300)
def a_hang_of_short_epochs() -> Sequence[Part]:
    """There are sixteen quick steps and a sample every 30 s: every look sees a sample, and none sees a step."""
    return [*up_to_training(), *[train(8 / 60, each=0.5), sample(1, each=22)] * 15, hung(Phase.TRAINING, **SPIN)]


@trace("step", within=300)
def a_hang_long_after_a_compilation() -> Sequence[Part]:
    """The first step took 20 minutes; a hundred steps later, that no longer counts."""
    compiled = compute(20 * MINUTE, phase=Phase.TRAINING, cpu=6)
    return [*up_to_training(), compiled, train(20, each=3), hung(Phase.TRAINING, **SPIN)]


@trace("step", "progress", within=540)
def phases_that_go_round() -> Sequence[Part]:
    """The trainer alternately reports training and saving each minute but makes no step: a phase is not progress."""
    minute = Part(seconds=MINUTE, phase=Phase.TRAINING, cpu=1.0, gpu=100, watts=120, log=BAR)
    turn = [minute, like(minute, phase=Phase.SAVING)]
    return [*up_to_training(), train(20), like(minute, hang=True), *turn * 30]


@trace("progress", within=1920)
def phases_that_go_round_from_the_start() -> Sequence[Part]:
    """The same before the first step."""
    minute = Part(seconds=MINUTE, phase=Phase.TRAINING, cpu=1.0, gpu=100, watts=120, log=BAR)
    turn = [minute, like(minute, phase=Phase.SAMPLING)]
    return [*up_to_training(), like(minute, hang=True), *turn * 60]


@trace("still", within=1200)
def an_end_that_waits_for_a_thread() -> Sequence[Part]:
    """Everything is saved; Python waits for a pool thread that never ends, so the process does not exit."""
    return [*up_to_training(), train(20), save(), hung(Phase.FINISHING)]


@trace("progress", within=3600)
def an_end_that_spins() -> Sequence[Part]:
    """Everything is saved; at exit, a destructor polls forever."""
    return [*up_to_training(), train(20), save(), hung(Phase.FINISHING, cpu=1.0)]


@trace("still", within=3600)
def a_program_that_is_dead() -> Sequence[Part]:
    """A program whose phase is unknown has not moved for an hour."""
    return [Part(seconds=30 * MINUTE, phase=None, cpu=1.0, log=BAR), hung(None)]


@trace("stopped", within=300)
def a_program_that_is_stopped() -> Sequence[Part]:
    """A program that was stopped by a signal and never continued."""
    return [Part(seconds=30 * MINUTE, phase=None, cpu=1.0, log=BAR), hung(None, stopped=True)]
