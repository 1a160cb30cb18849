# SPDX-License-Identifier: Apache-2.0
"""Records traces of real trainings of the tiny model: `python -m bench.record_traces [NAME ...]`; all without a name.

A daemon runs the training, and an observer beside it looks at short intervals, since the tiny model is quick; the
header has the scale. bench/trace_runs.py has the runs. A recording is tests/traces/recorded/NAME.jsonl, and the tests
judge it like every other trace.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from bench import trace_trainers
from bench.trace_runs import JOB, RUNS, Gpu, Listed, Run
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from fluxgym.watchdog import LIMITS
from fluxgymd.core.job import Live
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.gpus.machine import Gpus
from fluxgymd.watchdog.observer import Observer
from tests.daemon.running import FINAL, ROOT, TRAINING_SECONDS, RunningDaemon, context, make_model
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.waiting import until
from tests.traces.recorded import FOLDER, Header
from tests.watchdog.watched import job_of, observer_of, trainer_of

INTERVAL = 0.5
INTERFERE_STEP = 20
KILL_STEP = 100
"""Between the checkpoints at steps 64 and 128."""
GPU = "GPU-0"
OF_THE_HOST = 4_000_000_000
"""A pid that no process here can have."""
STOPPED_LOOKS = 40
"""20 minutes, at 30 s per look: longer than the limit of each phase in which a trainer is stopped here."""
HUNG_LOOKS = 100
"""50 minutes: longer than the limit of every phase in which a trainer hangs here, and than the ten seconds after
which tqdm redraws a bar that stands still."""


async def looks(observer: Observer, daemon: RunningDaemon, run: Run, tell: Callable[[], None]) -> list[Observation]:
    """Observes the job until it has ended, has been stopped or has hung for the number of looks above, or has been
    seen `run.looks` times."""
    seen: list[Observation] = []
    stopped_at: int | None = None
    interfere = run.interfere
    while daemon.job(JOB).runtime.state not in FINAL:
        if stopped_at is not None and len(seen) - stopped_at > STOPPED_LOOKS:
            os.kill(trainer_of(daemon, JOB), signal.SIGCONT)
            return seen
        hangs = len({told(look) for look in seen[-HUNG_LOOKS:]}) == 1 and len(seen) > HUNG_LOOKS
        if (run.hang is not None and hangs) or (run.looks is not None and len(seen) >= run.looks):
            os.kill(trainer_of(daemon, JOB), signal.SIGKILL)  # a trainer that hangs does not react to SIGTERM
            return seen
        began = asyncio.get_running_loop().time()
        tell()
        seen.append(await observer.observe())
        if stopped_at is None and run.stop_at is not None and run.stop_at(seen[-1]):
            stopped_at = len(seen)
            os.kill(trainer_of(daemon, JOB), signal.SIGSTOP)
        if interfere is not None and (seen[-1].step or 0) >= INTERFERE_STEP:
            interfere(daemon)
            interfere = None
        await asyncio.sleep(began + INTERVAL - asyncio.get_running_loop().time())
    return seen


def told(look: Observation) -> tuple[object, ...]:
    """The values that change as long as the trainer makes progress."""
    return look.phase, look.step, look.done, look.cache_files, look.output_bytes


async def watch(daemon: RunningDaemon, run: Run, trainer_path: Path, tell: Callable[[], None]) -> list[Observation]:
    gpus = Gpus()
    observer = observer_of(daemon, JOB, gpus, trainer_path=trainer_path, interval=INTERVAL)
    try:
        return await looks(observer, daemon, run, tell)
    finally:
        observer.close()
        await gpus.close()


def record(name: str, run: Run, model: Path) -> None:
    changes = dict(run.job)
    job = context(JOB, model)
    options = {} if run.trainer is not None else (job.trainer_options or {}) | changes.pop("options", {})
    if run.hang is not None:
        options["debug_hang"] = [run.hang]
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    try:
        trainer_path, nvml = trainer_in(folder, run), nvml_in(folder) if run.gpu is not None else None
        asks = nvml.environment if nvml is not None else {}
        os.environ.update(asks)  # the observer beside the daemon uses it too
        env = {"FLUXGYM_TRAINER_PATH": str(trainer_path), "FLUXGYM_WATCHDOG_MODE": "off", **asks}
        with RunningDaemon(folder, arguments=("--supervisor", "process"), env=env) as daemon:
            tell = partial(tell_gpu, nvml, run.gpu, daemon)
            tell()
            daemon.submit(msgspec.structs.replace(job, **changes, trainer_options=options))
            daemon.wait(JOB, State.RUNNING)
            if run.resumes:
                begin_again(daemon)
            seen = asyncio.run(watch(daemon, run, trainer_path, tell))
    finally:
        shutil.rmtree(folder)
    header = Header(
        name=name, reason=run.reason, expected=run.expected, scale=LIMITS["interval_seconds"].default / INTERVAL
    )
    lines = [msgspec.json.encode(one) for one in (header, *seen)]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    print(f"{name}: {len(seen)} looks")


def trainer_in(folder: Path, run: Run) -> Path:
    """The folder of a run's trainer. If the trainer is one of the small programs, it is written there first."""
    if run.trainer is None:
        return ROOT / "sd-scripts"
    path = folder / "trainer"
    path.mkdir()
    (path / "flux_train_network.py").write_text(trace_trainers.source(run.trainer))
    return path


def nvml_in(folder: Path) -> Nvml:
    library = folder / "nvml"
    library.mkdir()
    return Nvml(build(library), folder / "nvml.txt")


def tell_gpu(nvml: Nvml | None, shown: Gpu | None, daemon: RunningDaemon) -> None:
    """Sets what NVML reports from now on."""
    if nvml is None or shown is None:
        return
    pids = {Listed.GAME: os.getpid(), Listed.HOST: OF_THE_HOST}
    with suppress(AssertionError, FileNotFoundError):  # the trainer does not run yet, or no longer
        pids[Listed.JOB] = trainer_of(daemon, JOB)
    listed = None if shown.listed is None else [pids[who] for who in shown.listed if who in pids] or [0]
    nvml.tell(gpu(GPU, utilization=shown.utilization), *(f"process {GPU} {pid}" for pid in listed or ()))


def begin_again(daemon: RunningDaemon) -> None:
    """Kills the trainer between two checkpoints, and waits for its next attempt."""
    daemon.wait_for_step(JOB, KILL_STEP)
    os.kill(trainer_of(daemon, JOB), signal.SIGKILL)
    daemon.wait(JOB, State.FAILED)
    daemon.call(m.RESUME, m.ResumeParameters(name=JOB))
    until(lambda: trainer_again(daemon), what="the next attempt", deadline_seconds=TRAINING_SECONDS)


def trainer_again(daemon: RunningDaemon) -> bool:
    state = job_of(daemon, JOB).state
    return isinstance(state, Live) and state.attempt.number > 1 and state.attempt.trainer is not None


def main() -> None:
    names = sys.argv[1:] or list(RUNS)
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise SystemExit(f"There is no run {unknown[0]}; the runs are {', '.join(RUNS)}.")
    model = Path(tempfile.mkdtemp(prefix="fg-model-"))
    try:
        make_model(model)
        for name in names:
            record(name, RUNS[name], model)
    finally:
        shutil.rmtree(model)


if __name__ == "__main__":
    main()
