# SPDX-License-Identifier: Apache-2.0
"""Records traces of real trainings of the tiny model: `python -m bench.record_traces [NAME ...]`; all without a name.

A daemon runs the training, and an observer beside it looks often, since all is quick here; the header says how often.
A recording is tests/traces/recorded/NAME.jsonl, and the tests judge it like every other trace.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fluxgym.messages import Phase, State
from fluxgymd.core.watchdog.limits import INTERVAL_SECONDS
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.gpus.machine import Gpus
from fluxgymd.watchdog.observer import Observer
from tests.daemon.running import FINAL, RunningDaemon, context, make_model
from tests.traces.recorded import FOLDER, Header
from tests.watchdog.watched import observer_of, trainer_of

INTERVAL = 0.5
STOPPED_LOOKS = 40
"""20 minutes, at 30 s a look: longer than the limit of each phase in which something is stopped here."""
HUNG_LOOKS = 100
"""50 minutes: longer than each limit of what hangs by itself here, and than the ten seconds after which tqdm draws a
bar that stands still once more."""
JOB = "recorded"
SAMPLES = {"sample_prompts": ["a red disc --s 8", "a blue disc --s 20"], "sample_every_epochs": 4}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is recorded, and why it must be judged so."""

    reason: str
    job: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the tests' usual job."""
    stop_at: Callable[[Observation], bool] | None = None
    """Where this is seen the trainer is stopped by SIGSTOP. None: it is left alone."""
    hang: str | None = None
    """Of --debug_hang (docs/trainer.md): it hangs there by itself."""

    @property
    def expected(self) -> str:
        return "healthy" if self.stop_at is None and self.hang is None else "stuck"


RUNS = {
    "tiny_training": Run(
        reason="It loads, caches, trains, samples and saves, to its end.",
        job={"epochs": 12, "save_every_epochs": 4, **SAMPLES},
    ),
    "tiny_accumulation": Run(
        reason="Each step adds up 32 batches, so that steps come seldom.",
        job={"epochs": 20, "save_every_epochs": 20, "options": {"gradient_accumulation_steps": ["32"]}},
    ),
    "sigstop_in_training": Run(
        reason="The trainer's process was stopped by SIGSTOP between two steps.",
        job={"epochs": 10_000, "save_every_epochs": 100},
        stop_at=lambda seen: (seen.step or 0) > 100,
    ),
    "sigstop_in_loading": Run(
        reason="The trainer's process was stopped by SIGSTOP while it loaded its models.",
        stop_at=lambda seen: seen.phase is Phase.LOADING,
    ),
    "sigstop_in_sampling": Run(
        reason="The trainer's process was stopped by SIGSTOP while it made a sample.",
        job={"epochs": 10_000, "save_every_epochs": 100, **SAMPLES},
        stop_at=lambda seen: seen.phase is Phase.SAMPLING,
    ),
    "deadlock_in_a_batch": Run(
        reason="A thread that prepares batches waits for a lock that it holds, and the training for the batch.",
        hang="deadlock@batches:20",
    ),
    "spin_in_training": Run(
        reason="A step never ends and uses a whole core.",
        hang="spin@training:20",
    ),
    "spin_in_caching": Run(
        reason="A picture is never encoded, and a core is busy with it.",
        hang="spin@caching:5",
    ),
    "asleep_in_sampling": Run(
        reason="A denoising step waits for ever.",
        job=SAMPLES,
        hang="sleep@sampling:4",
    ),
    "asleep_in_loading": Run(
        reason="Nothing moves before the transformer is read.",
        hang="sleep@loading",
    ),
    "write_that_blocks_in_saving": Run(
        reason="Half of a state is written, and the rest waits for a reader that never comes.",
        hang="write@saving",
    ),
}


async def looks(observer: Observer, daemon: RunningDaemon, run: Run) -> list[Observation]:
    """Until the job is over, or has been stopped or has hung for so long."""
    seen: list[Observation] = []
    stopped_at: int | None = None
    while daemon.job(JOB).runtime.state not in FINAL:
        if stopped_at is not None and len(seen) - stopped_at > STOPPED_LOOKS:
            os.kill(trainer_of(daemon, JOB), signal.SIGCONT)
            return seen
        if run.hang is not None and len({told(look) for look in seen[-HUNG_LOOKS:]}) == 1 and len(seen) > HUNG_LOOKS:
            os.kill(trainer_of(daemon, JOB), signal.SIGKILL)  # what hangs does not heed SIGTERM
            return seen
        began = asyncio.get_running_loop().time()
        seen.append(await observer.observe())
        if stopped_at is None and run.stop_at is not None and run.stop_at(seen[-1]):
            stopped_at = len(seen)
            os.kill(trainer_of(daemon, JOB), signal.SIGSTOP)
        await asyncio.sleep(began + INTERVAL - asyncio.get_running_loop().time())
    return seen


def told(look: Observation) -> tuple[object, ...]:
    """What changes while the trainer goes on."""
    return look.phase, look.step, look.done, look.cache_files, look.output_bytes


async def watch(daemon: RunningDaemon, run: Run) -> list[Observation]:
    gpus = Gpus()
    observer = observer_of(daemon, JOB, gpus)
    try:
        return await looks(observer, daemon, run)
    finally:
        observer.close()
        await gpus.close()


def record(name: str, run: Run, model: Path) -> None:
    changes = dict(run.job)
    job = context(JOB, model)
    options = (job.trainer_options or {}) | changes.pop("options", {})
    if run.hang is not None:
        options["debug_hang"] = [run.hang]
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    try:
        with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
            daemon.submit(msgspec.structs.replace(job, **changes, trainer_options=options))
            daemon.wait(JOB, State.RUNNING)
            seen = asyncio.run(watch(daemon, run))
    finally:
        shutil.rmtree(folder)
    header = Header(name=name, reason=run.reason, expected=run.expected, scale=INTERVAL_SECONDS / INTERVAL)
    lines = [msgspec.json.encode(one) for one in (header, *seen)]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    print(f"{name}: {len(seen)} looks")


def main() -> None:
    names = sys.argv[1:] or list(RUNS)
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise SystemExit(f"There is no run {unknown[0]}; there are {', '.join(RUNS)}.")
    model = Path(tempfile.mkdtemp(prefix="fg-model-"))
    try:
        make_model(model)
        for name in names:
            record(name, RUNS[name], model)
    finally:
        shutil.rmtree(model)


if __name__ == "__main__":
    main()
