# SPDX-License-Identifier: Apache-2.0
"""Asks for the plan of a draw, trains it in this process, and compares the two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from library.check import job_check
from library.metrics import Metrics
from library.options.arguments import parse, read
from library.signals import StopRequest, Wishes
from library.train import training
from library.world import World
from tests.sd_scripts import in_process
from tests.sd_scripts.plans.draw import Draw
from tests.sd_scripts.running import Models, Settings

Plan = dict[str, Any]


def play(drawn: Draw, models: Models, folder: Path) -> None:
    """Raises AssertionError if the training does not do what its plan said. `folder`: an empty one."""
    _write_pictures(drawn, folder)
    (folder / "dataset.toml").write_text(drawn.toml(folder), encoding="utf-8")
    settings = Settings(models=models, folder=folder, pictures=folder / "0").plus(drawn.words)
    planned = _plan(settings)
    metrics = folder / "metrics.jsonl"
    with in_process.handlers_restored():
        told = Metrics(str(metrics))
        training.run(parse(settings.arguments()), World(), stop=StopRequest(), wishes=Wishes(), metrics=told)
    _compare_steps(planned, [json.loads(line) for line in metrics.read_text().splitlines()])
    _compare_caches(planned)
    saved = [path.name for path in settings.output_dir.iterdir()]
    assert sum(name.endswith(".safetensors") for name in saved) == planned["lorasKept"], saved
    assert sum(name.endswith("-state") for name in saved) == planned["statesKept"], saved
    on_disk = "--cache_text_encoder_outputs_to_disk" in drawn.words
    wanted = planned["caches"] | {"latents": 0, "bytes": 0} | ({"texts": 0} if on_disk else {})
    again = _plan(settings)["caches"]
    assert again == wanted, (again, wanted)


def _write_pictures(drawn: Draw, root: Path) -> None:
    for index, folder in enumerate(drawn.folders):
        (root / str(index)).mkdir()
        for number, size in enumerate(folder.sizes):
            Image.new("RGB", size, (40 * number, 80 * index, 90)).save(root / str(index) / f"p{number}.png")
            if number:
                (root / str(index) / f"p{number}.txt").write_text(f"sign {number} of {index}")


def _plan(settings: Settings) -> Plan:
    answer = json.loads(job_check.answer(read([*settings.arguments(), "--plan"]), processes=1))
    assert answer["problems"] == [], answer["problems"]
    found: Plan = answer["plan"]
    return found


def _compare_steps(planned: Plan, lines: list[dict[str, Any]]) -> None:
    steps = [line for line in lines if line["phase"] == "training" and "loss" in line]
    # Lines in quick succession are thinned out: that of the last step may give way to its validation's.
    assert max(line["step"] for line in lines if line["phase"] == "training") == planned["totalSteps"]
    assert {line["totalSteps"] for line in steps} == {planned["totalSteps"]}
    assert {line["totalEpochs"] for line in steps} == {planned["totalEpochs"]}
    assert planned["totalSteps"] == planned["totalEpochs"] * planned["stepsPerEpoch"]
    for line in steps:
        assert line["epoch"] == -(-line["step"] // planned["stepsPerEpoch"]), line
    caching = [line["total"] for line in lines if line["phase"] == "caching" and "total" in line]
    assert set(caching) == {planned["caches"]["latents"] + planned["caches"]["texts"]}


def _compare_caches(planned: Plan) -> None:
    """Compares the buckets with the names of the arrays in the caches of each picture."""
    wanted: dict[Path, set[str]] = {}
    for picture in planned["pictureList"]:
        width, height = picture["bucket"]
        path, (shown_width, shown_height) = Path(picture["path"]), picture["size"]
        file = path.with_name(f"{path.stem}_{shown_width:04d}x{shown_height:04d}_flux.npz")
        wanted.setdefault(file, set()).add(f"latents_{height // 8}x{width // 8}")
    found = {
        file: {name for name in numpy.load(file).files if name.startswith("latents_") and "flipped" not in name}
        for folder in {file.parent for file in wanted}
        for file in folder.glob("*x*_flux.npz")
    }
    assert found == wanted
    trained = {
        (picture["dataset"], *picture["bucket"]) for picture in planned["pictureList"] if not picture["validated"]
    }
    assert {(bucket["dataset"], *bucket["size"]) for bucket in planned["buckets"]} == trained
    assert sum(bucket["batches"] for bucket in planned["buckets"]) == planned["batchesPerEpoch"]
