# SPDX-License-Identifier: Apache-2.0
"""A running training can be asked to save and to sample at any moment without harm."""

import re
from collections import Counter
from pathlib import Path

import pytest

from fluxgym.errors import WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from fluxgym.protocol.steering_methods import SAMPLE_NOW, SAVE_NOW
from tests.daemon.running import (
    ROOT,
    TRAINER_PYTHON,
    TRAINING_SECONDS,
    Asked,
    RunningDaemon,
    context,
    program,
    tensors,
    write_script,
)
from tests.gpus.nvml import Nvml, gpu
from tests.harness.waiting import until

PROCESS = ("--supervisor", "process")
SAMPLES = {"sample_prompts": ["a cat --w 64 --h 64 --s 2"]}


def ask(daemon: Asked, name: str, method: m.Method[m.JobName, m.Nothing]) -> str:
    """Makes the request; returns an empty text, or the refusal."""
    try:
        daemon.call(method, m.JobName(name=name))
    except WrongState as error:
        return error.message
    return ""


def saved(daemon: Asked, name: str) -> list[str]:
    """The LoRAs; of the states, only the newest are kept."""
    return sorted(path.name for path in daemon.folder(name).glob(f"{name}-step*.safetensors"))


def sampled(daemon: Asked, name: str) -> list[str]:
    return sorted(path.name for path in (daemon.folder(name) / "sample").glob(f"{name}_0*.png"))


def test_requests_at_any_moment_neither_end_the_training_nor_change_a_bit(
    daemon: RunningDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    """The process has no handlers while its interpreter starts: the signals would kill it then."""
    answers: Counter[str] = Counter()
    shown = set()
    daemon.submit(context("undisturbed", model, **SAMPLES))

    def over() -> bool:
        for method in (SAVE_NOW, SAMPLE_NOW):
            answers[ask(daemon, "undisturbed", method)] += 1
        runtime = daemon.job("undisturbed").runtime
        shown.add((runtime.state, runtime.can_save, runtime.can_sample))
        return runtime.state is State.COMPLETED

    until(over, what="the training", deadline_seconds=TRAINING_SECONDS, longest_pause=0.001)
    ends = [event["outcome"] for event in daemon.events("undisturbed") if event["event"] == "ended"]
    assert ends == ["completed"]
    assert tensors(daemon.folder("undisturbed") / "undisturbed.safetensors") == undisturbed
    assert answers[""] >= 2
    assert saved(daemon, "undisturbed")
    assert sampled(daemon, "undisturbed")
    assert answers.keys() <= {
        "",
        "The job undisturbed: it is not running.",
        "The job undisturbed: its trainer is still starting, or has just ended; try again in a few seconds.",
        "The job undisturbed: its training is over, and its final files are being saved.",
    }
    assert (State.RUNNING, True, True) in shown
    assert {can for state, *both in shown for can in both if state in (State.QUEUED, State.COMPLETED)} <= {None}


def test_two_processes_save_once_and_their_launcher_lives(nvml_library: Path, folder: Path, model: Path) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    # There are no such GPUs, so the processes train on the CPU.
    cpu = "export ACCELERATE_USE_CPU=true CUDA_VISIBLE_DEVICES="
    python = write_script(folder / "python", f'{cpu}; exec {TRAINER_PYTHON} "$@"')
    env = {**nvml.environment, "FLUXGYM_TRAINER_PYTHON": str(python)}
    with RunningDaemon(folder, arguments=PROCESS, env=env) as daemon:
        daemon.submit(context("pair", model, gpu_count=2, **SAMPLES))
        daemon.wait_for_step("pair", 2)
        until(lambda: daemon.job("pair").runtime.can_save, what="the first process to be found")
        assert (ask(daemon, "pair", SAVE_NOW), ask(daemon, "pair", SAMPLE_NOW)) == ("", "")
        daemon.wait("pair", State.COMPLETED)
        assert [event["event"] for event in daemon.events("pair")].count("reserved") == 1
        assert len(saved(daemon, "pair")) == 1
        assert len(sampled(daemon, "pair")) == 1


@pytest.mark.parametrize(("method", "what"), [(SAVE_NOW, "save"), (SAMPLE_NOW, "draw samples")])
def test_a_program_and_a_job_that_does_not_run_are_refused(
    daemon: RunningDaemon, method: m.Method[m.JobName, m.Nothing], what: str
) -> None:
    daemon.submit(program("waits", held=True))
    assert ask(daemon, "waits", method) == "The job waits: it is not running."
    daemon.submit(program("runs", "exec sleep 1000"))
    job = daemon.wait("runs", State.RUNNING)
    assert (job.runtime.can_save, job.runtime.can_sample) == (False, False)
    assert ask(daemon, "runs", method) == f"The job runs: it is a program, which cannot {what} on request."
    assert daemon.job("runs").runtime.state is State.RUNNING


def test_sd_scripts_is_refused_and_carries_on(folder: Path, model: Path) -> None:
    path = ROOT / "tests" / "daemon" / "sd_scripts"
    with RunningDaemon(folder, arguments=PROCESS, env={"FLUXGYM_TRAINER_PATH": str(path)}) as daemon:
        daemon.submit(context("foreign", model, epochs=1000))
        daemon.wait("foreign", State.RUNNING)
        assert ask(daemon, "foreign", SAVE_NOW) == "The job foreign: its trainer does not save on request."
        assert re.search("does not draw samples on request", ask(daemon, "foreign", SAMPLE_NOW))
        assert daemon.job("foreign").runtime.state is State.RUNNING
