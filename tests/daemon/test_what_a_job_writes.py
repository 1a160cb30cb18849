# SPDX-License-Identifier: Apache-2.0
"""The contents of a job's files are shown as far as they make sense. They decide neither its outcome nor its
health."""

import shutil
from pathlib import Path

import psutil

from fluxgym.protocol.messages import State, Verdict
from tests.daemon.running import RunningDaemon, context, program
from tests.harness.waiting import until

MIB = 1 << 20
HUGE = f"9{'0' * 400}"


def test_a_number_too_large_for_a_float_does_not_prevent_recording_the_end(daemon: RunningDaemon) -> None:
    line = f'{{"time":1,"phase":"training","step":1,"totalSteps":{HUGE},"secondsPerStep":1.0}}'
    good = '{"time":2,"phase":"caching","done":3,"total":8}'
    writes = f"printf '%s\\n' '{line}' '{good}' >>$FLUXGYM_METRICS"
    daemon.submit(program("ends", f"{writes}; exit 3"))
    daemon.submit(program("runs", f"{writes}; exec sleep 600"))
    assert daemon.wait("ends", State.FAILED).runtime.reason == "It exited with status 3."

    def shows() -> bool:
        progress = daemon.job("runs").runtime.progress
        return progress is not None and (progress.done, progress.step) == (3, None)

    until(shows, what="the line that makes sense to be shown")
    daemon.end_jobs()
    assert daemon.job("runs").runtime.state is State.STOPPED
    assert "Traceback" not in daemon.log.read_text()


def test_a_flood_of_progress_costs_little_memory(daemon: RunningDaemon) -> None:
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    daemon.submit(program("calm", "exit 3"))
    daemon.wait("calm", State.FAILED)
    before = process.memory_info().rss
    daemon.submit(program("flood", "truncate -s 1G $FLUXGYM_METRICS; truncate -s 1G training.log; exit 3"))
    assert daemon.wait("flood", State.FAILED).runtime.reason == "It exited with status 3."
    assert peak(process) - before < 40 * MIB


def peak(process: psutil.Process) -> int:
    """The peak of a process's resident memory, in bytes."""
    line = next(
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


def test_promise_7_a_training_whose_progress_file_was_replaced_is_neither_stopped_nor_failed(
    daemon: RunningDaemon, model: Path
) -> None:
    """As when an editor saves a copy: the trainer keeps writing to the old file, which no longer has a name."""
    limits = {"interval_seconds": 1.0, "step_floor_seconds": 2.0, "step_factor": 1.0}
    daemon.submit(context("edited", model, epochs=12, save_every_epochs=12, watchdog_limits=limits))
    daemon.reach("edited", 5)
    metrics = daemon.folder("edited") / "metrics.jsonl"
    shutil.copy(metrics, metrics.with_name("copy"))
    metrics.with_name("copy").rename(metrics)

    def reported() -> bool:
        judgement = daemon.job("edited").runtime.watchdog
        why = "Its progress is unknown: metrics.jsonl was replaced by another file."
        return judgement is not None and (judgement.verdict, judgement.why) == (Verdict.SUSPICIOUS, why)

    until(reported, what="the watchdog to say why its progress is not known")
    told = daemon.wait("edited", State.COMPLETED).runtime
    assert told.reason == "Finished successfully."
    assert not any(event["event"] == "stuck" for event in daemon.events("edited"))
