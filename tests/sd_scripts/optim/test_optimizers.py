# SPDX-License-Identifier: Apache-2.0
"""Optimizers and schedules against sd-scripts' own functions, and against the packages that they come from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import prodigyopt
import pytest
import schedulefree
import torch
from safetensors import safe_open

from library.errors import TrainerError
from library.files.safetensors_file import load
from library.lora import network
from library.lora.lora import LoRANetwork
from library.optim import optimizer, rehearsal, schedulers
from library.options.arguments import parse
from library.options.options import Options
from library.train import preflight
from tests.sd_scripts.command_line import options
from tests.sd_scripts.in_process import run
from tests.sd_scripts.lora.models import tiny_transformer
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Settings

STEPS = 12
START = torch.tensor([[1.0, -2.0], [0.5, 3.0]])


def words_of(case: dict[str, Any]) -> list[str]:
    words: str = case["words"]
    return words.split(" ") if "step_rules" in words else shlex.split(words)


def one_tensor(given: Options, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.nn.Parameter, Any]:
    """A parameter that begins at START, and the optimizer of these options over it."""
    parameter = torch.nn.Parameter(START.clone())
    group = {"params": [parameter], "lr": given.learning_rate}
    monkeypatch.setattr(optimizer, "parameter_groups", lambda _network, _options: [group])
    return parameter, optimizer.build(a_lora(), given, on_gpu=False)


def a_lora() -> LoRANetwork:
    return network.build(options(), transformer=tiny_transformer(), clip=None, seed=0)


@pytest.mark.parametrize("case", recorded("schedules"), ids=lambda case: case["words"])
def test_rates_and_steps_are_those_of_sd_scripts(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(case)
    given = options(*words, *(() if "--learning_rate" in words else ("--learning_rate", "0.01")))
    parameter, built = one_tensor(given, monkeypatch)
    assert f"{type(built).__module__}.{type(built).__name__}" == case["optimizer"]
    schedule = schedulers.build(built, given, total_steps=STEPS)
    rates = []
    for _ in range(STEPS):
        parameter.grad = 2 * parameter.detach()
        rates.append(float(schedule.get_last_lr()[0] or 0))
        built.step()
        schedule.step()
    assert rates == pytest.approx(case["rates"])
    assert parameter.detach().flatten().tolist() == pytest.approx(case["weights"], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("--optimizer_type prodigy --optimizer_args d_coef=2", lambda p: prodigyopt.Prodigy(p, lr=1.0, d_coef=2)),
        (
            "--optimizer_type AdamWScheduleFree --optimizer_args warmup_steps=3",
            lambda p: schedulefree.AdamWScheduleFree(p, lr=1.0, warmup_steps=3),
        ),
        ("--optimizer_type SGDScheduleFree", lambda p: schedulefree.SGDScheduleFree(p, lr=1.0)),
        ("--optimizer_type RAdamScheduleFree", lambda p: schedulefree.RAdamScheduleFree(p, lr=1.0)),
    ],
)
def test_steps_are_those_of_the_package(words: str, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(*shlex.split(words), "--learning_rate", "1.0")
    ours, built = one_tensor(given, monkeypatch)
    theirs = torch.nn.Parameter(START.clone())
    judge = made([theirs])
    if hasattr(judge, "train"):
        judge.train()
    for _ in range(STEPS):
        for parameter, stepping in ((ours, built), (theirs, judge)):
            parameter.grad = 0.1 * parameter.detach()
            stepping.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, START)
    if "d" in built.param_groups[0]:
        assert optimizer.learning_rate(built, given) == built.param_groups[0]["d"] != 1e-6

    kept = ours.detach().clone()
    with optimizer.weights_in_use(built):
        if hasattr(judge, "eval"):
            judge.eval()
            assert not torch.equal(ours, kept)
        assert torch.equal(ours, theirs)
    assert torch.equal(ours, kept)
    built.step()


def test_8_bit_adamw_without_its_package_is_fused_adamw_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--optimizer_type AdamW8bit --optimizer_args weight_decay=0.1 block_wise=True"
    built = optimizer.build(a_lora(), options(*words.split(), "--learning_rate", "1"), on_gpu=False)
    assert isinstance(built, torch.optim.AdamW)
    assert (built.defaults["fused"], built.defaults["weight_decay"]) == (True, 0.1)
    warning = capsys.readouterr().err
    assert "fused AdamW is used instead, without block_wise" in warning
    assert "bitsandbytes is not installed" in warning or "bitsandbytes needs an NVIDIA GPU" in warning


def test_a_schedule_that_adafactor_ignores_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--optimizer_type adafactor --learning_rate 1e-3 --lr_scheduler"
    optimizer.build(a_lora(), options(*words.split(), "cosine"), on_gpu=False)
    assert "--lr_scheduler cosine has no effect with Adafactor's relative_step" in capsys.readouterr().err
    optimizer.build(a_lora(), options(*words.split(), "constant"), on_gpu=False)
    assert "--lr_scheduler" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--optimizer_type Adam0", "is not one of adafactor, .*, and there is no class torch.optim.Adam0"),
        ("--optimizer_type no.such.Class", "there is no class no.such.Class"),
        ("--optimizer_type torch.nn.Linear", "torch.nn.Linear is not an optimizer"),
        ("--optimizer_type lion", "needs the package lion-pytorch, which is not installed"),
        ("--optimizer_args beta=1", "--optimizer_args: AdamW rejected them"),
        ("--optimizer_args eps=-1.0", "--optimizer_args: AdamW rejected them"),
    ],
)
def test_an_optimizer_that_cannot_be_created_is_reported(words: str, sentence: str) -> None:
    with pytest.raises(TrainerError, match=sentence):
        optimizer.build(a_lora(), options(*words.split(), "--learning_rate", "1"), on_gpu=False)


def test_a_schedule_that_cannot_be_created_is_reported() -> None:
    built = optimizer.build(a_lora(), options("--learning_rate", "1"), on_gpu=False)
    for words in ("--lr_scheduler_type StepLR", "--lr_scheduler_type No", "--lr_scheduler_type a.B"):
        with pytest.raises(TrainerError, match="--lr_scheduler"):
            schedulers.build(built, options(*words.split()), total_steps=4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--optimizer_type Adam0", "there is no class torch.optim.Adam0"),
        ("--optimizer_type LBFGS", "LBFGS fails in its first step: .*'closure'"),
        ("--optimizer_type SparseAdam", "SparseAdam fails in its first step"),
        ("--optimizer_args foreach=True", "AdamW rejected them: .*cannot be .True. together"),
        ("--learning_rate 0", "every learning rate is 0"),
        ("--unet_lr 0 --text_encoder_lr 0", "every learning rate is 0"),
        ("--unet_lr 0 --text_encoder_lr 1 --network_train_unet_only", "every learning rate is 0"),
        ("--lr_scheduler_type No", "there is no class torch.optim.lr_scheduler.No"),
        ("--lr_scheduler_type ReduceLROnPlateau", "the schedule fails within 6 steps: .*'metrics'"),
        (
            "--lr_scheduler_type OneCycleLR --lr_scheduler_args max_lr=0.1 total_steps=3",
            "--lr_scheduler_type OneCycleLR: the schedule fails within 6 steps: Tried to step 4 times",
        ),
        (
            "--optimizer_type adafactor --lr_scheduler_type LinearLR --lr_scheduler_args total_iters=9",
            "--lr_scheduler_type LinearLR cannot be used, because Adafactor with relative_step finds",
        ),
        ("--optimizer_type prodigy --text_encoder_lr 0.5", "Prodigy fails in its first step: .*different lr values"),
        (
            "--optimizer_type prodigy --network_args loraplus_unet_lr_ratio=4",
            "Prodigy fails in its first step: .*different lr values",
        ),
        ("--lr_scheduler cosine_with_min_lr", "needs --lr_scheduler_min_lr_ratio"),
        ("--lr_scheduler piecewise_constant", "step_rules='' is not valid for piecewise_constant; give each factor"),
        (
            "--lr_scheduler piecewise_constant --lr_scheduler_args \"step_rules='1-4,0.1'\"",
            "step_rules='1-4,0.1' is not valid for piecewise_constant; give each factor",
        ),
    ],
)
def test_a_failure_in_training_is_reported_before_anything_is_loaded(
    words: str, sentence: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    given = parse(settings.plus(f"--max_train_epochs 1 {words}").arguments())
    with pytest.raises(TrainerError, match=sentence):
        preflight.check(given)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--unet_lr 0",
        "--learning_rate 0 --network_args network_reg_lrs=img_attn=1e-3",
        "--optimizer_type adafactor",
        "--optimizer_type Prodigy --lr_scheduler cosine",
        "--optimizer_type Prodigy --unet_lr 1 --text_encoder_lr 0.5 --network_train_unet_only",
        "--optimizer_type Prodigy --unet_lr 1 --text_encoder_lr 0",
        "--optimizer_type AdamWScheduleFree",
        "--lr_scheduler_type OneCycleLR --lr_scheduler_args max_lr=0.1 total_steps=6",
        "--lr_scheduler cosine_with_min_lr --lr_scheduler_args min_lr=1e-9",
    ],
)
def test_an_optimizer_that_can_train_is_not_refused(words: str) -> None:
    rehearsal.rehearse(options(*words.split()), total_steps=6, on_gpu=False)


@pytest.mark.parametrize(
    ("written", "may"),
    [
        ("AdamW", False),
        ("AdamW8bit", False),  # on a machine without a GPU AdamW stands in for it
        ("Lion8bit", True),
        ("prodigy", False),
        ("NAdam", False),
        ("torch.optim.NAdam", False),
        ("bitsandbytes.optim.AdEMAMix8bit", True),
        ("apex.optimizers.FusedAdam", True),
    ],
)
def test_an_optimizer_that_may_need_a_gpu_is_known_by_name(written: str, may: bool) -> None:
    assert optimizer.may_need_gpu(written, on_gpu=False) is may


BITSANDBYTES = """
import torch

class AdamW8bit(torch.optim.AdamW):
    def step(self, closure=None):
        raise RuntimeError("All input tensors need to be on the same GPU")
"""


def test_8_bit_adamw_is_not_tried_on_the_cpu_if_there_is_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bitsandbytes is not installed for the tests, and its real kernels need a GPU."""
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").touch()
    (tmp_path / "bitsandbytes" / "optim.py").write_text(BITSANDBYTES)
    monkeypatch.syspath_prepend(tmp_path)
    rehearsal.rehearse(options("--optimizer_type", "AdamW8bit"), total_steps=6, on_gpu=True)
    wrong = options("--optimizer_type", "AdamW8bit", "--optimizer_args", "eps=-1.0")
    with pytest.raises(TrainerError, match="rejected them"):
        rehearsal.rehearse(wrong, total_steps=6, on_gpu=True)


class OnlyOnGpu(torch.optim.SGD):
    """Stands in for a package that only has CUDA kernels."""

    def step(self, closure: Any = None) -> Any:
        raise NotImplementedError("no kernel for the CPU")


@pytest.mark.parametrize("gpu", [True, False])
def test_an_optimizer_that_needs_a_gpu_is_not_refused_if_there_is_one(gpu: bool) -> None:
    given = options("--optimizer_type", f"{__name__}.{OnlyOnGpu.__name__}")
    if gpu:
        rehearsal.rehearse(given, total_steps=6, on_gpu=gpu)
    else:
        with pytest.raises(TrainerError, match="OnlyOnGpu fails in its first step: no kernel for the CPU"):
            rehearsal.rehearse(given, total_steps=6, on_gpu=gpu)


class RowsAndColumns(torch.optim.SGD):
    """Keeps a list where AdamW keeps a tensor, as ProdigyPlus does."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                squares = parameter.grad.square()
                rows, columns = self.state[parameter].setdefault("exp_avg_sq", [torch.zeros(()), torch.zeros(())])
                kept = [rows * 0.9 + squares.mean(1, keepdim=True), columns * 0.9 + squares.mean(0, keepdim=True)]
                self.state[parameter]["exp_avg_sq"] = kept
                parameter.grad /= (kept[0] * kept[1]).sqrt().sqrt() + 1e-8
        return super().step(closure)


class Falling(torch.optim.lr_scheduler.LRScheduler):
    """A schedule whose state has names of its own."""

    def get_lr(self) -> list[Any]:
        return [rate / (1 + self.last_epoch) for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        return {"made": self.last_epoch, "base_lrs": self.base_lrs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch, self.base_lrs = state_dict["made"], state_dict["base_lrs"]


ONE_EPOCH = "--network_train_unet_only --max_train_epochs 1"
ADAFACTOR_16G = (
    "--optimizer_type adafactor --optimizer_args relative_step=False scale_parameter=False warmup_init=False"
)
TABLE = [
    # The flags that an older FluxGym passes for 16 GB.
    f"{ADAFACTOR_16G} --lr_scheduler constant_with_warmup --max_grad_norm 0.0",
    "--optimizer_type adafactor",
    "--optimizer_type prodigy --learning_rate 1",
    "--optimizer_type AdamWScheduleFree",
    "--optimizer_type RAdamScheduleFree --save_every_n_steps 2",
    "--optimizer_type NAdam --lr_scheduler cosine --lr_warmup_steps 0.3 --network_args loraplus_lr_ratio=4",
    "--optimizer_type SGDNesterov --lr_scheduler_type CosineAnnealingLR --lr_scheduler_args T_max=9",
    f"--optimizer_type {__name__}.RowsAndColumns --lr_scheduler_type {__name__}.Falling",
    "--scale_weight_norms 0.1 --network_args txt_mlp_dim=0 in_dims=[1,0,2,0,0]",
]


@pytest.mark.parametrize("words", TABLE)
def test_a_resumed_run_equals_the_uninterrupted_one(words: str, settings: Settings, tmp_path: Path) -> None:
    whole = run(settings.plus(f"{ONE_EPOCH} {words}", output="whole"))
    assert (whole.error, whole.steps) == (None, [1, 2, 3, 4, 5, 6])
    pieces = settings.plus(f"{ONE_EPOCH} {words}", output="pieces")
    first = run(pieces, stop_after=3)
    assert (first.error, first.status) == (None, 143)
    second = run(pieces.plus(f"--resume {tmp_path / 'pieces' / 'lora-step00000003-state'}"))
    assert (second.error, second.steps) == (None, [4, 5, 6])
    one, other = (load(tmp_path / name / "lora.safetensors") for name in ("whole", "pieces"))
    with safe_open(tmp_path / "whole" / "lora.safetensors", "pt") as file:
        metadata = file.metadata()
    assert ("torch.optim.nadam.NAdam" in metadata["ss_optimizer"]) == ("NAdam" in words)
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert all(bool(tensor.any()) for key, tensor in one.items() if key.endswith("lora_up.weight"))
