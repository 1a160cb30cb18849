# SPDX-License-Identifier: Apache-2.0
"""Names, numbers of steps, noise levels, order and batches: pure decisions, tested with tables."""

from __future__ import annotations

import collections
import itertools
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from library import randomness
from library.data.buckets import BucketRules, Size
from library.data.dataset import Dataset, Picture
from library.data.dataset_config import DatasetConfig, SubsetConfig
from library.data.epoch_order import epoch_batches
from library.errors import TrainerError
from library.flow import flow_matching, losses
from library.flow.batches import Batch, Position, prefetch, steps
from library.metrics import Metrics
from library.options import plan
from library.options.arguments import parse
from library.options.options import Options
from library.output import names
from library.output.names import Moment
from library.sample import sampling
from tests.harness.waiting import DEADLINE_SECONDS

REQUIRED = (
    "--pretrained_model_name_or_path f --clip_l c --t5xxl t --ae a --dataset_config d --output_dir o "
    "--network_module networks.lora_flux --output_name n "
)


def options(words: str = "") -> Options:
    return parse((REQUIRED + words).split())


@pytest.mark.parametrize(
    ("moment", "lora", "state"),
    [
        (Moment(epoch=4), "n-000004.safetensors", "n-000004-state"),
        (Moment(step=150), "n-step00000150.safetensors", "n-step00000150-state"),
        (Moment(), "n.safetensors", "n-state"),
    ],
)
def test_names_are_sd_scripts(moment: Moment, lora: str, state: str) -> None:
    assert (names.lora_name(options(), moment), names.state_name(options(), moment)) == (lora, state)


@pytest.mark.parametrize(
    ("words", "moment", "state", "removed"),
    [
        ("--save_every_n_epochs 2 --save_last_n_epochs 2", Moment(epoch=8), False, Moment(epoch=4)),
        ("--save_every_n_epochs 2 --save_last_n_epochs 2", Moment(epoch=4), False, None),
        ("--save_every_n_epochs 2 --save_last_n_epochs 2", Moment(epoch=8), True, Moment(epoch=4)),
        ("--save_every_n_epochs 2 --save_last_n_epochs_state 1", Moment(epoch=8), True, Moment(epoch=6)),
        ("--save_every_n_epochs 2 --save_last_n_epochs_state 1", Moment(epoch=8), False, None),
        # Recorded from sd-scripts: saving every 5 steps with last 5 keeps 15 and 20 at step 20.
        ("--save_every_n_steps 5 --save_last_n_steps 5", Moment(step=20), False, Moment(step=10)),
        ("--save_every_n_steps 5 --save_last_n_steps 5", Moment(step=15), True, Moment(step=5)),
        ("--save_every_n_steps 5 --save_last_n_steps 5", Moment(step=10), False, None),
        ("--save_every_n_epochs 1 --save_last_n_epochs 1", Moment(), False, None),
    ],
)
def test_what_a_save_makes_outdated(words: str, moment: Moment, state: bool, removed: Moment | None) -> None:
    assert names.outdated(options(words), moment, state=state) == removed


@pytest.mark.parametrize(
    ("words", "batches", "per_epoch", "total", "epochs"),
    [
        ("--max_train_epochs 3", 10, 10, 30, 3),
        ("--max_train_epochs 3 --gradient_accumulation_steps 4", 10, 3, 9, 3),
        ("--max_train_steps 25", 10, 10, 25, 3),
        ("", 10, 10, 1600, 160),
    ],
)
def test_steps_and_epochs(words: str, batches: int, per_epoch: int, total: int, epochs: int) -> None:
    made = plan.make(options(words), batches_per_epoch=batches)
    assert (made.steps_per_epoch, made.total_steps, made.total_epochs) == (per_epoch, total, epochs)


def test_what_is_due_after_each_step() -> None:
    given = options("--max_train_steps 7 --save_every_n_epochs 2 --save_every_n_steps 3 --sample_prompts p.txt")
    made = plan.make(given, batches_per_epoch=2)
    steps = range(1, 8)
    assert [made.epoch_of(step) for step in (0, *steps)] == [1, 1, 1, 2, 2, 3, 3, 4]
    assert [step for step in steps if made.ends_epoch(step)] == [2, 4, 6, 7]
    assert [step for step in steps if plan.due_after(given, made, step).save_epoch] == [4]
    assert [step for step in steps if plan.due_after(given, made, step).save_step] == [3, 6]
    by_epoch = options("--max_train_steps 7 --sample_prompts p --sample_every_n_epochs 2 --sample_every_n_steps 1")
    assert [step for step in steps if plan.due_after(by_epoch, made, step).sample_epoch] == [4, 7]
    assert not any(plan.due_after(by_epoch, made, step).sample_step for step in steps)


def test_steps_never_cross_epochs() -> None:
    found = list(steps(first_step=1, last_step=4, batches_per_epoch=3, accumulation=2))
    assert [(s.number, s.epoch, s.batches) for s in found] == [(2, 0, 1), (3, 1, 2), (4, 1, 1)]
    assert [[(p.epoch, p.batch, p.step) for p in s.positions] for s in found] == [
        [(0, 2, 2)],
        [(1, 0, 3), (1, 1, 3)],
        [(1, 2, 4)],
    ]


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (2, 3), (3, 2), (4, 1)])
@pytest.mark.parametrize("batches", [1, 5, 12])
def test_processes_share_the_batches_of_one_that_accumulates_them_all(
    processes: int, accumulation: int, batches: int
) -> None:
    of = {"first_step": 0, "last_step": 5, "batches_per_epoch": batches}
    alone = list(steps(**of, accumulation=processes * accumulation))
    shares = [list(steps(**of, accumulation=accumulation, processes=processes, rank=r)) for r in range(processes)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert {(part.number, part.epoch, part.batches) for part in parts} == {
            (whole.number, whole.epoch, whole.batches)
        }
        start = whole.positions[0].batch
        for rank, part in enumerate(parts):
            assert len(part.positions) <= accumulation
            assert [p.batch for p in part.positions] == [
                start + k * processes + rank for k in range(len(part.positions))
            ]
        shared = sorted((p for part in parts for p in part.positions), key=lambda p: p.batch)
        assert shared == list(whole.positions)
    made = plan.make(
        options(f"--max_train_epochs 3 --gradient_accumulation_steps {accumulation}"),
        batches_per_epoch=batches,
        processes=processes,
    )
    # sd-scripts: epochs * ceil(batches / processes / accumulation)
    assert made.total_steps == 3 * math.ceil(batches / processes / accumulation)
    assert made.batches_per_process == math.ceil(batches / processes)


def test_prefetch_keeps_the_order_and_runs_ahead() -> None:
    wanted = [Position(epoch=0, batch=index, step=index + 1) for index in range(20)]
    first_is_slow = threading.Event()

    def make(position: Position) -> Batch:
        if position.step == 1:
            assert first_is_slow.wait(timeout=DEADLINE_SECONDS)
        if position.step == 3:
            first_is_slow.set()
        return Batch(position=position, **dict.fromkeys(BATCH_FIELDS, torch.zeros(1)))

    made = [batch.position for batch in prefetch(make, wanted, threads=3)]
    assert made == wanted


BATCH_FIELDS = (
    "latents_BChw",
    "noise_BChw",
    "sigma_B",
    "hidden_BTX",
    "pooled_BV",
    "clip_ids_BT",
    "is_reg_B",
    "mask_B1hw",
)


def test_an_error_of_a_thread_reaches_the_loop() -> None:
    def fail(_position: Position) -> Batch:
        raise TrainerError("the cache is gone")

    with pytest.raises(TrainerError, match="gone"):
        list(prefetch(fail, [Position(epoch=0, batch=0, step=1)], threads=2))


def dataset(count: int, repeats: int, batch_size: int, *, sides: tuple[int, ...] = (64,)) -> Dataset:
    """`count` pictures of each width in `sides`."""
    subset = SubsetConfig(image_dir=Path("pictures"), num_repeats=repeats)
    pictures = [
        Picture(
            path=Path(f"{side}-{index}"),
            size=Size(side, 64),
            rotation=1,
            bucket=Size(side, 64),
            resized=Size(side, 64),
            caption="",
            caption_path=None,
            repeats=repeats,
            dataset=0,
            subset=subset,
            interpolation=None,
        )
        for side in sides
        for index in range(count)
    ]
    config = DatasetConfig(buckets=BucketRules(resolution=Size(64, 64)), batch_size=batch_size, subsets=(subset,))
    return Dataset(configs=(config,), pictures=tuple(pictures))


def test_a_batch_has_one_size_and_batches_of_all_sizes_are_mixed() -> None:
    given = dataset(5, 3, 4, sides=(64, 128))
    order = epoch_batches(given, seed=1, epoch=0)
    sizes = [{given.pictures[index].bucket.width for index in batch} for batch in order]
    assert [len(size) for size in sizes] == [1] * 8
    assert sizes not in (sorted(sizes, key=str), sorted(sizes, key=str, reverse=True))
    assert sorted(len(batch) for batch in order) == [3, 3, 4, 4, 4, 4, 4, 4]
    assert collections.Counter(itertools.chain(*order)) == dict.fromkeys(range(10), 3)
    assert given.batches_per_epoch == 8


def test_an_epoch_has_every_repeat_once_in_an_order_of_its_own() -> None:
    given = dataset(5, 3, 4)
    orders = [epoch_batches(given, seed=1, epoch=epoch) for epoch in (0, 1)]
    for order in orders:
        assert [len(batch) for batch in order] == [4, 4, 4, 3]
        assert collections.Counter(itertools.chain(*order)) == dict.fromkeys(range(5), 3)
    assert orders[0] != orders[1]
    assert orders[0] == epoch_batches(given, seed=1, epoch=0)
    assert orders[0] != epoch_batches(given, seed=2, epoch=0)
    assert given.batches_per_epoch == 4


def test_random_choices_depend_on_their_place_alone() -> None:
    torch.manual_seed(1)
    first = torch.rand(4, generator=randomness.generator("noise", 1, 2))
    torch.rand(100)
    assert torch.equal(first, torch.rand(4, generator=randomness.generator("noise", 1, 2)))
    for other in (("noise", 2, 1), ("noise", 12), ("order", 1, 2)):
        purpose, *place = other
        assert not torch.equal(first, torch.rand(4, generator=randomness.generator(purpose, *place)))


@pytest.mark.parametrize(
    ("sampling_name", "mean"),
    # E[s] of U(0, 1), of a logistic normal, of one with its mean at 1.15, and of U(0, 1) shifted by 4.
    [
        ("uniform", 0.5),
        ("sigmoid", 0.5),
        ("shift", 0.723),
        ("flux_shift", 0.723),
        ("sigma", 4 / 3 * (1 - math.log(4) / 3)),
    ],
)
def test_noise_levels(sampling_name: str, mean: float) -> None:
    levels = flow_matching.NoiseLevels(sampling=sampling_name, shift=3.1582 if sampling_name != "sigma" else 4.0)
    drawn = levels.draw(20_000, tokens=4096, generator=randomness.generator("test"))
    assert ((drawn > 0) & (drawn <= 1)).all()
    assert drawn.mean().item() == pytest.approx(mean, abs=0.01)


def test_flux_shift_is_the_published_line() -> None:
    assert flow_matching.flux_shift(4096) == pytest.approx(math.exp(1.15)) == pytest.approx(3.1582, abs=1e-4)
    assert flow_matching.flux_shift(256) == pytest.approx(math.exp(0.5))
    # e^mu / (e^mu + 1/s - 1), as it is usually written
    s = torch.tensor([0.2, 0.7])
    shift = flow_matching.flux_shift(1024)
    assert torch.allclose(flow_matching.shift_sigma(s, shift), shift / (shift + 1 / s - 1))


def test_the_right_prediction_has_no_loss() -> None:
    picture, noise = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    sigma = torch.tensor([0.2, 0.8])
    noisy = flow_matching.add_noise(picture, noise, sigma)
    target = noise - picture
    assert torch.allclose(noisy[1], 0.2 * picture[1] + 0.8 * noise[1])
    outputs = {"raw": target, "additive": target - noisy, "sigma_scaled": (noisy - target) / sigma.view(-1, 1, 1, 1)}
    for prediction_type, output in outputs.items():
        prediction = flow_matching.interpret(output, noisy, sigma, prediction_type)
        assert losses.of_numbers(prediction, target, "l2", None).max() < 1e-10
    assert losses.of_numbers(target + 2, target, "l2", None).mean().item() == pytest.approx(4)


def test_timesteps_are_rounded_to_the_trainings_type() -> None:
    sigma = torch.tensor([0.123456])
    assert flow_matching.rounded_timestep(sigma, torch.float32) == pytest.approx(0.123456)
    assert flow_matching.rounded_timestep(sigma, torch.bfloat16).float() == pytest.approx(0.1235, abs=1e-4)


def test_the_sampling_schedule_goes_from_noise_to_picture() -> None:
    levels = sampling.schedule(4, 4096, guided=True)
    assert (levels[0], levels[-1]) == (1, 0)
    assert levels[2].item() == pytest.approx(3.1582 / 4.1582, abs=1e-4)
    assert sampling.schedule(4, 4096, guided=False).tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_metrics_thin_out_but_keep_the_last_line_of_a_phase(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"from": "before"}\n')
    metrics = Metrics(str(path))
    for step in range(1000):
        metrics.report("training", step=step, loss=math.nan)
    metrics.report("saving")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"from": "before"}
    assert (lines[1]["step"], lines[1]["loss"]) == (0, None)
    assert (lines[-2]["step"], lines[-1]["phase"]) == (999, "saving")
    assert len(lines) < 100


def test_a_piece_of_an_item_is_told_after_a_silence_and_never_in_the_place_of_an_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(str(path))
    now = [100.0]
    monkeypatch.setattr("library.metrics.time.monotonic", lambda: now[0])

    def after(seconds: float, tell: Callable[..., None], **values: float) -> list[tuple[object, object]]:
        now[0] += seconds
        tell("training", **values)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [(line.get("step"), line.get("work")) for line in lines]

    told = after(0, metrics.report_piece, work=1)
    assert told == [(None, 1)], "a phase's first line"
    assert after(0.9, metrics.report_piece, work=2) == told
    told = after(0.2, metrics.report_piece, work=3)
    assert told == [(None, 1), (None, 3)]
    assert after(0.05, metrics.report, step=1) == told, "it is held back"
    assert after(5, metrics.report_piece, work=4) == told, "and a piece does not take its place"
    assert after(0.1, metrics.report, step=2) == [*told, (2, None)]


def test_a_metrics_file_that_cannot_be_written_is_told_and_forgiven(capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("/nowhere/metrics.jsonl", "/dev/full"):
        metrics = Metrics(path)
        metrics.report("training", step=1)
        metrics.report("saving")
        assert "cannot write progress to FLUXGYM_METRICS" in capsys.readouterr().err
