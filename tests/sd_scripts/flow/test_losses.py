# SPDX-License-Identifier: Apache-2.0
"""Noise levels and losses equal those of sd-scripts' own functions, given the same draws."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from PIL import Image

from library.files.safetensors_file import load
from library.flow import flow_matching, losses
from library.flow.flow_matching import NoiseLevels
from tests.sd_scripts.command_line import options
from tests.sd_scripts.in_process import run
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Settings, make_pictures

RECORDED = recorded("losses")
DRAWN = torch.tensor([0.05, 0.3, 0.6, 0.95])
LEVELS = torch.tensor([0.1, 0.35, 0.7, 0.99])
# The same as in the recording script.
PREDICTION = torch.tensor([0.0, 0.5, -1.0, 2.0] * 8).view(2, 4, 2, 2)
TARGET = torch.linspace(-1, 1, 32).view(2, 4, 2, 2)
TIMESTEPS = torch.tensor([0.1, 0.8])


@pytest.mark.parametrize("case", RECORDED["sigmas"], ids=lambda case: case["words"])
def test_levels_are_those_of_sd_scripts(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_shape, **_keywords: DRAWN.clone())
    monkeypatch.setattr(torch, "randn", lambda *_shape, **_keywords: DRAWN * 4 - 2)
    levels = NoiseLevels.of(options(*case["words"].split()))
    drawn = levels.draw(4, tokens=24, generator=torch.Generator())
    assert drawn.tolist() == pytest.approx(case["sigmas"], rel=1e-5)


def test_every_scheme_draws_existing_levels() -> None:
    for scheme in ("uniform", "logit_normal", "mode"):
        for scale in (-0.6, 0.0, 1.29, 1.75):
            levels = NoiseLevels(sampling="sigma", scheme=scheme, mode_scale=scale, logit_std=50.0)
            drawn = levels.draw(5000, tokens=1, generator=torch.Generator())
            assert ((drawn > 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("case", RECORDED["weights"], ids=lambda case: case["scheme"])
def test_weights_of_levels_are_those_of_sd_scripts(case: dict[str, Any]) -> None:
    assert losses.level_weight(LEVELS, case["scheme"]).tolist() == pytest.approx(case["weights"], rel=1e-5)


@pytest.mark.parametrize("case", RECORDED["losses"], ids=lambda case: case["words"])
def test_losses_are_those_of_sd_scripts(case: dict[str, Any]) -> None:
    kind, *rest = case["words"].split()
    words = ["--loss_type", kind, "--model_prediction_type", "raw"]
    if rest:
        words += [f"--huber_schedule={rest[0]}", f"--huber_c={rest[1]}", f"--huber_scale={rest[2]}"]
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, 0, :2] = 1
    mask[1] = 0.5
    for name, given in (("losses", None), ("masked", mask)):
        found = losses.of_pictures(
            PREDICTION,
            TARGET,
            sigma_B=torch.tensor([0.1, 0.8]),
            timestep_B=TIMESTEPS,
            mask_B1hw=given,
            options=options(*words),
        )
        assert found.tolist() == pytest.approx(case[name], rel=1e-5)


def test_sigma_scaled_weights_by_level_and_raw_does_not() -> None:
    sigma = torch.tensor([0.5, 0.1])
    found = {}
    for kind in ("raw", "sigma_scaled"):
        words = ["--weighting_scheme", "sigma_sqrt", "--model_prediction_type", kind]
        found[kind] = losses.of_pictures(
            PREDICTION, TARGET, sigma_B=sigma, timestep_B=sigma, mask_B1hw=None, options=options(*words)
        )
    assert (found["sigma_scaled"] / found["raw"]).tolist() == pytest.approx([4, 100])


def test_regularisation_pictures_have_the_requested_weight() -> None:
    is_reg = torch.tensor([True, False, False])
    assert losses.of_batch(torch.tensor([1.0, 2.0, 6.0]), is_reg, 0.25).item() == pytest.approx((0.25 + 8) / 3)


def test_huber_needs_a_schedule_that_flux_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--loss_type", "huber")
    assert "--huber_schedule snr does not work with Flux" in capsys.readouterr().err


def test_huber_uses_the_reported_timestep() -> None:
    told = flow_matching.rounded_timestep(torch.tensor([0.123456]), torch.bfloat16)
    given = options("--loss_type", "huber", "--huber_schedule", "exponential", "--huber_c", "0.01")
    found = losses.huber_threshold(told, given)
    assert found is not None
    assert found.item() == pytest.approx(0.01 ** float(told), rel=1e-5)


def dataset_file(settings: Settings, subset: str) -> None:
    (settings.folder / "dataset.toml").write_text(
        f"[[datasets]]\nresolution = 64\ncaption_extension = '.txt'\n[[datasets.subsets]]\n{subset}\n"
    )


def test_masked_regions_are_not_learned(settings: Settings) -> None:
    """All pictures but one are transparent, so only that one is learned from."""
    for path in settings.pictures.glob("*.png"):
        with Image.open(path) as picture:
            picture.convert("RGB").save(path)
            transparent = picture.convert("RGBA")
        transparent.putalpha(0 if path.stem != "1" else 255)
        transparent.save(path)
    dataset_file(settings, f"image_dir = '{settings.pictures}'\nalpha_mask = true")
    words = "--network_train_unet_only --max_train_epochs 1 --save_every_n_steps 1 --optimizer_type SGD"
    outcome = run(settings.plus(words))
    assert (outcome.error, outcome.steps) == (None, [1, 2, 3])
    names = ("lora-step00000001", "lora-step00000002", "lora")
    after = [load(settings.output_dir / f"{name}.safetensors") for name in names]
    learned = [any(tensor.any() for key, tensor in after[0].items() if key.endswith("up.weight"))]
    learned += [any(not torch.equal(one[key], other[key]) for key in one) for one, other in itertools.pairwise(after)]
    assert sorted(learned) == [False, False, True]


@pytest.mark.parametrize(("weight", "learns"), [("0", [False, True]), ("0.5", [True, True])])
def test_regularisation_pictures_teach_by_their_weight(weight: str, learns: list[bool], settings: Settings) -> None:
    others = make_pictures(settings.folder / "others", 1, caption="a square")
    for name in ("1", "2"):
        (settings.pictures / f"{name}.png").unlink()
    dataset_file(
        settings,
        f"image_dir = '{settings.pictures}'\n[[datasets.subsets]]\nimage_dir = '{others}'\nis_reg = true",
    )
    words = "--network_train_unet_only --max_train_epochs 1 --save_every_n_steps 1 --optimizer_type SGD"
    outcome = run(settings.plus(f"{words} --prior_loss_weight {weight}"))
    assert (outcome.error, outcome.steps) == (None, [1, 2])
    after = [load(settings.output_dir / f"{name}.safetensors") for name in ("lora-step00000001", "lora")]
    learned = [any(tensor.any() for key, tensor in after[0].items() if key.endswith("up.weight"))]
    learned.append(any(not torch.equal(after[0][key], after[1][key]) for key in after[0]))
    assert sorted(learned) == learns
