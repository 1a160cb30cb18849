# SPDX-License-Identifier: Apache-2.0
"""Traces of runs that must never be judged stuck, however they look."""

from collections.abc import Sequence

from fluxgym.protocol.messages import Phase
from tests.traces.parts import (
    BAR,
    GB,
    HOUR,
    MB,
    MINUTE,
    cache,
    compute,
    finish,
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

HEALTHY = Catalogue()
trace = HEALTHY.healthy


@trace
def a_usual_training() -> Sequence[Part]:
    """Load, cache, train, sample, save, over and over: each phase does its work."""
    epoch = [train(12), sample(3), save()]
    return [*up_to_training(), *epoch, *epoch, *epoch, finish()]


@trace
def models_from_a_60_mb_disk() -> Sequence[Part]:
    """The disk delivers a steady 60 MB/s: loading 33 GB takes 9 minutes with an idle GPU and a silent log."""
    return [start(), read(rate=60 * MB), compute(90), cache(30), train(10)]


@trace
def models_from_a_10_mb_volume() -> Sequence[Part]:
    """A cold network volume delivers 10 MB/s: loading takes nearly an hour, but bytes keep arriving."""
    return [start(120), read(rate=10 * MB), compute(90), cache(30), train(5)]


@trace
def sha256_of_24_gb() -> Sequence[Part]:
    """The model is hashed before the training: one core is busy for 8 minutes, the GPU is idle and the log silent."""
    return [*up_to_training(), like(compute(8 * MINUTE), io=50 * MB), train(10)]


@trace
def sha256_of_a_mapped_file() -> Sequence[Part]:
    """A file that is already in memory is hashed: no system calls and no input, only a busy core for 12 minutes."""
    return [*up_to_training(), compute(12 * MINUTE), train(10)]


@trace
def cast_to_fp8_on_a_slow_processor() -> Sequence[Part]:
    """Twelve billion numbers are cast on one old core: 25 minutes of computing while nothing else moves."""
    return [start(), read(), compute(25 * MINUTE), cache(30), train(10)]


@trace
def caching_5000_pictures() -> Sequence[Part]:
    """5,000 pictures take an hour and a half; each produces a file."""
    return [start(), read(), compute(40), cache(5000, each=1.1), train(10)]


@trace
def caching_large_pictures_on_the_processor() -> Sequence[Part]:
    """The encoder runs on the processor: a picture takes two minutes, and the GPU is idle."""
    return [start(), read(), like(cache(20, each=120), gpu=0, cpu=7.5, watts=30), train(10)]


@trace
def old_caches_are_checked() -> Sequence[Part]:
    """All caches exist; reading and checking them takes 10 minutes: no new file and no GPU, but bytes and a core."""
    check = Part(seconds=10 * MINUTE, phase=Phase.CACHING, cpu=0.6, io=90 * MB, watts=35)
    return [start(), read(), check, train(10)]


@trace
def long_sampling_at_1024() -> Sequence[Part]:
    """Eight samples at 1024 px with half of the model in host memory: 6 minutes each, without a new step."""
    return [*up_to_training(), train(10), sample(8, each=360), train(10)]


@trace
def a_sample_of_25_minutes() -> Sequence[Part]:
    """An 8 GB card swaps blocks for each denoising step: a sample takes 25 minutes of a busy GPU."""
    return [*up_to_training(), train(10, each=11), sample(3, each=25 * MINUTE), train(10, each=11)]


@trace
def a_checkpoint_to_a_slow_volume() -> Sequence[Part]:
    """1.2 GB at 2 MB/s: 10 minutes with an idle GPU, but the file grows."""
    return [*up_to_training(), train(10), like(save(1.2 * GB, rate=2 * MB), blocked=2), train(10)]


@trace
def a_checkpoint_that_is_flushed() -> Sequence[Part]:
    """The bytes are in the page cache; fsync waits in the kernel for 15 minutes while nothing at all moves."""
    flush = Part(
        seconds=15 * MINUTE, phase=Phase.SAVING, cpu=0.001, blocked=1, blocked_in="folio_wait_bit_common", watts=60
    )
    return [*up_to_training(), train(10), save(), flush, train(10)]


@trace
def the_first_step_is_compiled() -> Sequence[Part]:
    """torch.compile with max-autotune: 20 minutes before the first step; the processors are busy, the GPU hardly."""
    return [*up_to_training(), compute(20 * MINUTE, phase=Phase.TRAINING, cpu=6), train(20)]


@trace
def a_second_shape_is_compiled() -> Sequence[Part]:
    """A picture of another shape comes after 30 steps: compiling for it takes 6 minutes (the first step took 10)."""
    first, again = (compute(minutes * MINUTE, phase=Phase.TRAINING, cpu=6) for minutes in (10, 6))
    return [*up_to_training(), first, train(0.75), again, train(20)]


@trace
def accumulation_over_minutes() -> Sequence[Part]:
    """64 pictures a step: every step takes 8 minutes, and nothing is reported in between."""
    return [*up_to_training(), like(train(90, each=480), log=0)]


@trace
def accumulation_that_tells_its_parts() -> Sequence[Part]:
    """A step takes 25 minutes but reports a micro-step each minute: work continues although no step is finished."""
    return [*up_to_training(), like(train(100, each=1500), item_every=60)]


@trace
def a_gpu_shared_with_another_program() -> Sequence[Part]:
    """Another program uses the GPU for an hour: steps are seven times slower, but still come."""
    return [*up_to_training(), train(15, each=6), train(60, each=42), train(15, each=6)]


@trace
def a_gpu_that_is_taken_by_a_game() -> Sequence[Part]:
    """Somebody plays a game for 4 minutes at a time, and hardly a step gets through; then the training continues."""
    game = like(train(4, each=1000), cpu=0.4, gpu=99)
    return [*up_to_training(), *[train(5), game] * 5, train(5)]


@trace
def a_laptop_that_sleeps_for_a_night() -> Sequence[Part]:
    """The lid is closed for 9 hours in the middle of a step: the machine is not awake, so no time counts."""
    return [*up_to_training(), train(20), like(train(20), asleep=9 * HOUR)]


@trace
def a_laptop_that_sleeps_while_it_saves() -> Sequence[Part]:
    """The machine sleeps for 9 hours halfway through a checkpoint."""
    half = save(0.6 * GB, rate=2 * MB)
    return [*up_to_training(), train(20), half, like(half, asleep=9 * HOUR), train(20)]


@trace
def the_clock_is_set_forward() -> Sequence[Part]:
    """NTP sets the clock forward by 3 hours while a checkpoint is flushed: only the wall clock jumps."""
    flush = Part(seconds=8 * MINUTE, phase=Phase.SAVING, cpu=0.001, blocked=1, watts=60)
    return [*up_to_training(), train(10), flush, like(train(15), clock_set=3 * HOUR)]


@trace
def the_clock_is_set_back() -> Sequence[Part]:
    """The clock was a day fast and is set back."""
    return [*up_to_training(), train(15), like(train(15), clock_set=-24 * HOUR), sample(2), train(10)]


@trace
def nvml_is_missing() -> Sequence[Part]:
    """The driver has no NVML: nothing is known about the GPU, but steps come."""
    parts = [*up_to_training(), train(15), sample(3), save(), train(15)]
    return [like(part, nvml=False) for part in parts]


@trace
def nvml_hangs_for_an_hour() -> Sequence[Part]:
    """NVML does not answer for an hour, while the job trains and saves."""
    blind = [like(part, nvml=False) for part in (train(40), save(1.2 * GB, rate=2 * MB), train(10))]
    return [*up_to_training(), train(15), *blind, train(10)]


@trace
def nvml_stops_at_an_idle_moment() -> Sequence[Part]:
    """NVML's last reading before it hung showed a GPU idle for a checkpoint; that says nothing about later."""
    idle = Part(seconds=60, phase=Phase.TRAINING, cpu=0.01, watts=60)
    blind = like(train(60, each=400), nvml=False, cpu=0.02, log=0, io=0)
    return [*up_to_training(), train(40, each=400), idle, blind]


@trace
def a_gpu_that_is_too_hot() -> Sequence[Part]:
    """The fan is full of dust: clocks drop, and steps take 5 s instead of 1.2, but they come."""
    hot = like(train(40, each=5), watts=190, throttled=("thermal", "hardware_slowdown"))
    return [*up_to_training(), train(15), hot]


@trace
def a_virtual_machine_that_is_paused() -> Sequence[Part]:
    """The host pauses the machine for 40 minutes and its clock jumps: nobody looked, so no time counts."""
    paused = Part(seconds=40 * MINUTE, phase=Phase.TRAINING, looked_at=False)
    return [*up_to_training(), train(15), paused, train(15), like(paused, phase=Phase.SAMPLING), sample(2), train(5)]


@trace
def the_daemon_is_stopped_for_two_hours() -> Sequence[Part]:
    """The daemon was stopped by a signal for two hours; the training was not."""
    return [*up_to_training(), train(15), like(train(120), looked_at=False), train(15)]


@trace
def a_pause_by_hand() -> Sequence[Part]:
    """The user stops the trainer with SIGSTOP for 4 minutes to play a video, then lets it continue."""
    paused = Part(seconds=4 * MINUTE, phase=Phase.TRAINING, stopped=True, watts=90)
    return [*up_to_training(), train(15), paused, train(15)]


@trace
def a_debugger_at_every_look() -> Sequence[Part]:
    """py-spy briefly stops the process, by chance at every look: steps come in between."""
    return [*up_to_training(), like(train(30), stopped=True)]


@trace
def a_slow_download() -> Sequence[Part]:
    """3.2 GB at 300 KB/s take 3 hours: no counter is reported, but bytes arrive."""
    download = Part(seconds=3 * HOUR, phase=Phase.DOWNLOADING, cpu=0.02, io=300_000, watts=20)
    return [start(), download, read(), train(10)]


@trace
def a_download_over_a_bad_line() -> Sequence[Part]:
    """The connection drops for 8 minutes again and again, but the download continues each time."""
    comes = Part(seconds=5 * MINUTE, phase=Phase.DOWNLOADING, cpu=0.05, io=2 * MB, watts=20)
    dead = Part(seconds=8 * MINUTE, phase=Phase.DOWNLOADING, cpu=0.001, watts=20)
    return [start(), *[comes, dead] * 6, comes, read(), train(10)]


@trace
def a_load_that_swaps() -> Sequence[Part]:
    """33 GB are loaded on a machine with 32 GB: this takes 25 minutes under memory pressure, then succeeds."""
    load = like(read(rate=22 * MB), cpu=0.2, blocked=6, swap=6 << 30, pressure=45.0)
    return [start(), load, compute(60), cache(30), train(20, each=3)]


@trace
def a_tiny_model_on_the_processor() -> Sequence[Part]:
    """There is no GPU: a step takes 90 s on four cores."""
    parts = [start(), compute(60), like(cache(20, each=20), gpu=0), like(train(60, each=90), gpu=0, cpu=4)]
    return [like(part, on_cpu=True) for part in parts]


@trace
def a_gpu_that_starves() -> Sequence[Part]:
    """Decoding pictures takes 25 s on one core, the GPU 1 s: at every look, for an hour, the GPU seems idle."""
    return [*up_to_training(), like(train(60, each=25), gpu=2, watts=80, io=20 * MB)]


@trace
def many_short_phases() -> Sequence[Part]:
    """There is a sample and a checkpoint after every few steps: every look sees another phase."""
    return [*up_to_training(), *[train(1, each=8), sample(1, each=20), save(rate=20 * MB)] * 25]


@trace
def an_xid_of_another_program() -> Sequence[Part]:
    """Another program on the GPU crashes (Xid 31, then 45); the training goes on."""
    return [*up_to_training(), train(10), like(train(15), xid=31), like(train(15), xid=45)]


@trace
def a_memory_error_that_is_survived() -> Sequence[Part]:
    """Xid 48 reported a memory page that this training does not use: steps come after it."""
    return [*up_to_training(), train(10), like(train(30), xid=48)]


@trace
def an_nfs_server_that_restarts() -> Sequence[Part]:
    """The file server with the pictures is down for 4 minutes: all threads are in state D until it is back."""
    away = Part(seconds=4 * MINUTE, phase=Phase.TRAINING, blocked=8, blocked_in="rpc_wait_bit_killable", watts=60)
    return [*up_to_training(), train(20), away, train(20), away, train(20)]


@trace
def a_volume_that_hangs_for_the_daemon() -> Sequence[Part]:
    """The daemon cannot read the home for 50 minutes; the training runs in memory, but its steps cannot be seen."""
    return [*up_to_training(), train(20), like(train(50), told=False), train(20)]


@trace
def a_disk_that_is_full_for_an_hour() -> Sequence[Part]:
    """Somebody fills the disk between two checkpoints. The training goes on, but neither its counters nor its log can
    be written until there is room again."""
    full = like(train(60), step_every=None, log=0, disk_free=0)
    return [*up_to_training(), train(20), full, train(20)]


@trace
def a_validation_of_many_pictures() -> Sequence[Part]:
    """After an epoch, sd-scripts validates 200 pictures at four noise levels each: ten minutes without a step."""
    validation = like(train(10), step_every=None, item_every=0.75)
    return [*up_to_training(), train(20), validation, train(20), validation, train(5)]


@trace
def steps_that_grow_slower() -> Sequence[Part]:
    """The dataset is sorted by size: steps of 1, 10, 40, 120 and 400 s, each stretch slower than the last."""
    return [*up_to_training(), *(train(40, each=each) for each in (1.0, 10.0, 40.0, 120.0, 400.0))]


@trace
def a_resume_that_skips_batches() -> Sequence[Part]:
    """sd-scripts reads and discards the batches of the completed steps: 20 minutes before the first new step."""
    return [start(), read(), like(compute(20 * MINUTE, phase=Phase.TRAINING, cpu=0.9), io=6 * MB, gpu=0), train(15)]


@trace
def a_long_end() -> Sequence[Part]:
    """The result is hashed and copied to a slow volume: 15 minutes without a step at the end."""
    copy = Part(seconds=15 * MINUTE, phase=Phase.FINISHING, cpu=0.05, io=1 * MB, writes=1 * MB, blocked=1)
    return [*up_to_training(), train(15), save(), copy]


@trace
def a_program_that_computes() -> Sequence[Part]:
    """A user's program, whose phase is unknown, computes for 5 hours without printing a line."""
    return [Part(seconds=5 * HOUR, phase=None, cpu=1.0)]


@trace
def a_program_that_waits() -> Sequence[Part]:
    """A program captions the pictures that arrive in a folder: it sleeps for 50 minutes between bursts of work."""
    works = Part(seconds=120, phase=None, cpu=2.0, gpu=80, io=30 * MB, log=BAR)
    return [works, *[Part(seconds=50 * MINUTE, phase=None, cpu=0.001), works] * 3]
