# SPDX-License-Identifier: Apache-2.0
"""Several processes train together: two real ones on the CPU, started by `accelerate launch` as on GPUs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from library import world
from library.errors import TrainerError
from library.train import processes
from library.world import World
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import assert_nothing_half, assert_same_lora, assert_trained, states_of
from tests.sd_scripts.running import (
    PROGRAM,
    Models,
    Outcome,
    RunningTrainer,
    Settings,
    make_pictures,
    temporary_directory,
)

# Without --multi_gpu it starts one process on a machine without a GPU. Port 0: any free port.
LAUNCH = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
)
BATCHES, STEPS_PER_EPOCH, STEPS = 93, 47, 141
CACHED = "--cache_latents_to_disk --cache_text_encoder_outputs_to_disk"


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def of(models: Models, folder: Path) -> Settings:
    """3 epochs of 93 batches, so the second process has no batch in the last step of an epoch."""
    pictures = folder / "pictures"
    settings = Settings(
        models=models,
        folder=folder,
        pictures=pictures if pictures.exists() else make_pictures(pictures, 3),
        repeats=BATCHES // 3,
    )
    return settings.plus("--network_train_unet_only")


class Together(RunningTrainer):
    """A training by two processes. Each leads a session of its own, so they are not in the launcher's group."""

    def __init__(self, settings: Settings, run_by: tuple[str, ...] = ()) -> None:
        super().__init__(settings, (*LAUNCH, "--no_python", *run_by))
        self.all: dict[int | None, psutil.Process] = {None: psutil.Process(self.process.pid)}

    def meet(self) -> None:
        """Waits until both train, and learns the processes: by rank, and the launcher under None."""
        self.wait_for(lambda line: line.get("step", 0) >= 1)
        for child in self.all[None].children():
            self.all[int(child.environ()["RANK"])] = child
        assert self.all.keys() == {None, 0, 1}

    def signal_all(self, signum: signal.Signals) -> None:
        """Signals all processes, as systemd does when it stops a scope."""
        for process in self.all.values():
            process.send_signal(signum)

    def nothing_remains(self) -> bool:
        return all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in self.all.values())


@contextlib.contextmanager
def together(settings: Settings, run_by: tuple[str, ...] = ()) -> Iterator[Together]:
    trainer = Together(settings, run_by)
    try:
        yield trainer
    finally:
        for process in (
            {*trainer.all.values(), *trainer.all[None].children()} if not trainer.nothing_remains() else ()
        ):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        trainer.process.wait(timeout=DEADLINE_SECONDS)


def train_together(settings: Settings, *, status: int = 0, run_by: tuple[str, ...] = ()) -> Outcome:
    with together(settings, run_by) as trainer:
        outcome = trainer.finish()
    assert outcome.status == status, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def whole(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The training by two processes, undisturbed."""
    settings = of(models, tmp_path_factory.mktemp("whole"))
    with temporary_directory(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        return train_together(settings.plus(CACHED).with_samples())


def test_two_processes_train_what_one_with_accumulation_does(whole: Outcome, models: Models, tmp_path: Path) -> None:
    """Each step has the same batches. Gradients, clipping and mean loss agree, in an epoch's short step too."""
    accumulating = run(of(models, tmp_path).plus("--gradient_accumulation_steps 2"))
    assert (accumulating.error, accumulating.steps) == (None, list(range(1, STEPS + 1)))
    for name in ("lora-000001", "lora"):
        alone = load_file(tmp_path / "out" / f"{name}.safetensors")
        both = load_file(whole.output_dir / f"{name}.safetensors")
        assert alone.keys() == both.keys()
        for key, tensor in both.items():
            torch.testing.assert_close(tensor, alone[key], rtol=1e-3, atol=1e-6)
        assert_trained(whole.output_dir / f"{name}.safetensors")
    losses = {line["step"]: line["loss"] for line in whole.steps()}
    assert set(losses) <= set(accumulating.losses)
    assert losses == pytest.approx({step: accumulating.losses[step] for step in losses}, rel=1e-4)


def test_a_short_step_is_the_mean_of_its_batches(settings: Settings) -> None:
    """Plain gradient descent, in which a step is proportional to its gradient. 6 batches are a full step, or one that
    lacks 94 of its 100, where accelerate divides by 100."""
    plain = settings.plus("--max_train_epochs 1 --optimizer_type sgdnesterov --max_grad_norm 0")
    for accumulation in (6, 100):
        made = run(plain.plus(f"--gradient_accumulation_steps {accumulation}", output=f"by-{accumulation}"))
        assert (made.error, made.steps) == (None, [1])
    assert_trained(settings.folder / "by-6" / "lora.safetensors")
    assert_same_lora(*(settings.folder / f"by-{accumulation}" / "lora.safetensors" for accumulation in (6, 100)))


def test_only_the_first_process_prints_and_writes(whole: Outcome) -> None:
    assert whole.stdout.count("starting to train") == 1
    assert f"  batches per process and epoch: {STEPS_PER_EPOCH}\n" in whole.stdout
    assert f"  steps: {STEPS}\n" in whole.stdout
    assert [line["step"] for line in whole.lines if line["phase"] == "finishing"] == [STEPS]
    steps = [line["step"] for line in whole.steps()]
    assert steps == sorted(set(steps))
    assert len(list((whole.output_dir / "sample").glob("lora_*.png"))) == 2 * 4
    assert states_of(whole) == {f"lora-00000{epoch}-state": epoch * STEPS_PER_EPOCH for epoch in (1, 2)} | {
        "lora-state": STEPS
    }
    assert_nothing_half(whole)


def test_sigterm_to_all_saves_once_and_the_run_continues_bit_for_bit(
    whole: Outcome, models: Models, tmp_path: Path
) -> None:
    settings = of(models, tmp_path).plus(CACHED)
    with together(settings) as trainer:
        trainer.meet()
        trainer.signal_all(signal.SIGTERM)
        stopped = trainer.finish()
        assert stopped.status != 0
        until(trainer.nothing_remains, what="the end of all processes")
    assert f'File "{PROGRAM.parent}' not in stopped.stderr  # the launcher prints a traceback of its own
    assert_nothing_half(stopped)
    ((state, step),) = [item for item in states_of(stopped).items() if "-step" in item[0]]
    assert step < STEPS
    assert stopped.stdout.count(f"stopped by signal {signal.SIGTERM:d} after step {step}") == 1

    resumed = train_together(settings.plus(f"--resume {stopped.output_dir / state}"))
    assert next(line["step"] for line in resumed.steps()) == step + 1
    assert_same_lora(whole.lora, resumed.lora)


def test_all_stop_after_the_same_step_if_one_is_asked(models: Models, tmp_path: Path) -> None:
    """If process groups are still held at exit, one process in ten ends by SIGABRT instead."""
    telling = str(Path(__file__).with_name("tells_groups.py"))
    with together(of(models, tmp_path), (sys.executable, telling)) as trainer:
        trainer.meet()
        trainer.all[1].send_signal(signal.SIGTERM)
        outcome = trainer.finish()
        until(trainer.nothing_remains, what="the end of all processes")
    assert outcome.status != 0
    # From the launcher's table of failures.
    assert set(re.findall(r"exitcode\s*: (-?\d+)", outcome.stderr)) == {"143"}
    assert (outcome.stderr.count("groups were let go"), outcome.stderr.count("groups are held")) == (2, 0)
    assert "stopped by signal 15" in outcome.stdout
    assert len([name for name in states_of(outcome) if "-step" in name]) == 1
    assert_nothing_half(outcome)


@pytest.mark.parametrize(("whom", "signum"), [(1, signal.SIGKILL), (0, signal.SIGKILL), (None, signal.SIGTERM)])
def test_if_one_is_killed_nothing_of_the_group_remains(
    whom: int | None, signum: signal.Signals, models: Models, tmp_path: Path
) -> None:
    with together(of(models, tmp_path)) as trainer:
        trainer.meet()
        trainer.all[whom].send_signal(signum)
        outcome = trainer.finish()
        until(trainer.nothing_remains, what="the end of all processes")
    assert outcome.status != 0
    assert not outcome.lora.exists()
    if whom is not None:
        assert "(Signal 9 (SIGKILL)" in outcome.stderr or "exitcode  : -9" in outcome.stderr
    else:
        assert "stopped by signal 15" in outcome.stdout
    if whom != 0:
        assert_nothing_half(outcome)


def test_if_one_cannot_compile_none_does(models: Models, tmp_path: Path) -> None:
    """A state records how all processes compute, so all of them have to compute in the same way."""
    short = dataclasses.replace(of(models, tmp_path), repeats=2)
    compiled = short.plus("--max_train_epochs 1 --compile --compile_backend aot_eager")
    breaking = str(Path(__file__).with_name("cannot_compile.py"))
    outcome = train_together(compiled, run_by=(sys.executable, breaking))
    warning = "warning: the blocks are not compiled, because compiling failed in another process"
    assert outcome.stderr.count(warning) == 1
    told = json.loads((outcome.output_dir / "lora-state" / "train_state.json").read_text())
    assert (told["current_step"], told["choices"]["compile"]) == (3, "no")


def test_each_process_reports_a_refusal_with_its_number(models: Models, tmp_path: Path) -> None:
    missing = tmp_path / "missing-state"
    outcome = train_together(of(models, tmp_path).plus(f"--resume {missing}"), status=1)
    assert outcome.stderr.count(f"error: --resume: there is no state folder {missing}") in (1, 2)
    assert not outcome.lora.exists()


def test_a_state_of_another_number_of_processes_is_refused(settings: Settings) -> None:
    assert run(settings.plus("--max_train_epochs 1 --save_state")).error is None
    state = settings.output_dir / "lora-state"
    progress = json.loads((state / "train_state.json").read_text())
    assert progress.pop("processes") == 1
    resumed = settings.plus(f"--max_train_epochs 2 --resume {state}", output="resumed")

    (state / "train_state.json").write_text(json.dumps(progress | {"processes": 4}))
    refused = run(resumed)
    assert refused.error is not None
    assert "made by 4 processes, but this run has 1" in refused.error
    assert refused.steps == []
    assert run(resumed.plus("--replan", output="replanned")).steps[0] == progress["current_step"] + 1

    # Older states do not record the number; one process made them.
    (state / "train_state.json").write_text(json.dumps(progress))
    assert run(resumed).error is None


def test_processes_exchange_their_facts(tmp_path: Path) -> None:
    talking = Path(__file__).with_name("talking.py")
    subprocess.run([*LAUNCH, talking, tmp_path], check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first.pop("found_mark"), second.pop("found_mark")) == (False, True)
    assert first == second
    assert first == {
        "of_first": ["seed", 0],
        "of_any": [False, True, True],
        "gradients": [[11.0] * 3, [[1.0, 1.0], [1.0, 1.0]], None, [10.0] * 5],
        "loss": 0.75,
        "stops": [[False, 0], [True, 15]],
    }


LATE = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        for signum in (signal.SIGUSR1, signal.SIGTERM):
            kill(pid, signum)
late = Late()
import flux_train_network
flux_train_network.main()
"""


def test_a_signal_does_not_change_an_exit_status_that_is_settled() -> None:
    """The launcher's SIGTERM reaches a process that is already exiting, while Python clears its modules."""
    command = [sys.executable, "-c", LATE, str(PROGRAM.parent), "--no-such-flag"]
    assert subprocess.run(command, capture_output=True, timeout=DEADLINE_SECONDS).returncode == 2


def test_buckets_keep_the_order_and_their_size() -> None:
    tensors = [torch.zeros(count) for count in (1, 2, 9, 1, 1, 1, 1, 4)]
    made = [[tensor.numel() for tensor in bucket] for bucket in processes.buckets(tensors, most_bytes=16)]
    assert made == [[1, 2], [9], [1, 1, 1, 1], [4]]


def test_the_environment_determines_the_world() -> None:
    assert world.of_environment({}) == World(count=1, rank=0)
    launched = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "RANK": "3"}
    assert world.of_environment(launched) == World(count=4, rank=3)
    with pytest.raises(TrainerError, match="4 processes were started, but only 2 of them on this machine"):
        world.of_environment(launched | {"LOCAL_WORLD_SIZE": "2"})
    with pytest.raises(TrainerError, match="WORLD_SIZE is 'many', but must be a whole number"):
        world.of_environment({"WORLD_SIZE": "many"})
