# SPDX-License-Identifier: Apache-2.0
"""Asks `submit --plan --json` about the jobs of a draw, trains each, and compares what happened with the plan."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from fluxgym.protocol.messages import State
from fluxgymctl.prose.plan_page import WholePlan
from tests.daemon.plans.draw import Draw, DrawnJob, Folder
from tests.daemon.running import RunningDaemon, model_flags, whole_lines
from tests.fluxgymctl.program import ctl


def play(daemon: RunningDaemon, model: Path, drawn: Draw, folder: Path) -> list[WholePlan]:
    """Trains the jobs one after the other. Raises AssertionError if one does not do what its plan said. `folder`: an
    empty one, for the pictures. Returns the plans."""
    stored = [each.name for each in drawn.folders if each.stored]
    for index, each in enumerate(drawn.folders):
        _write_pictures(each, folder / each.name, shade=index)
        if each.stored:
            _succeed("dataset", "create", each.name, daemon=daemon, cwd=folder)
            _succeed("dataset", "add", each.name, f"./{each.name}", daemon=daemon, cwd=folder)
    plans = []
    for name, job in zip(names(drawn), drawn.jobs, strict=True):
        if job.recaptioned in stored:
            _succeed("dataset", "caption", job.recaptioned, "p0.png", "a post", daemon=daemon, cwd=folder)
        elif job.recaptioned is not None:
            (folder / job.recaptioned / "p0.txt").write_text("a post")
        plans.append(_train(name, job, daemon, model, folder, stored))
    return plans


def plan(name: str, words: Sequence[str], daemon: RunningDaemon, model: Path, folder: Path) -> WholePlan:
    """What `submit --plan` says about the job with these words, in this folder."""
    asked = ("submit", name, *words, *model_flags(model), "--plan", "--json")
    return msgspec.json.decode(_succeed(*asked, daemon=daemon, cwd=folder).stdout, type=WholePlan)


def names(drawn: Draw) -> list[str]:
    return [f"job-{number}" for number in range(1, len(drawn.jobs) + 1)]


def _write_pictures(drawn: Folder, folder: Path, *, shade: int) -> None:
    folder.mkdir()
    for number, picture in enumerate(drawn.pictures):
        image = Image.new("RGB", picture.size, (40 * number, 80 * shade, 90))
        if drawn.alpha:
            image.putalpha(Image.linear_gradient("L").resize(picture.size))
        image.save(folder / f"p{number}.png")
        if picture.caption is not None:
            (folder / f"p{number}.txt").write_text(picture.caption)


def _succeed(*words: str, daemon: RunningDaemon, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = ctl(*words, socket=daemon.socket, cwd=cwd)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done


def _train(
    name: str, job: DrawnJob, daemon: RunningDaemon, model: Path, folder: Path, stored: Sequence[str]
) -> WholePlan:
    told = plan(name, job.words, daemon, model, folder)
    _succeed("submit", name, *job.words, *model_flags(model), daemon=daemon, cwd=folder)
    daemon.wait(name, State.COMPLETED)
    home = daemon.folder(name)
    _compare_steps(told, whole_lines(home / "metrics.jsonl"))
    copies = {
        each if each in stored else str(folder / each): home / "dataset" / (str(number) if job.has_parts else "")
        for number, each in enumerate(job.folders, start=1)
    }
    _compare_buckets(told, copies, on_disk="cache_latents_to_disk=false" not in job.words)
    training = told.plan.training
    assert training is not None
    _same("LoRAs", len(list(home.glob("*.safetensors"))), training.loras)
    samples = [file for file in home.glob("sample/*.png") if not file.stem.endswith("contact-sheet")]
    _same("samples", len(samples), training.samples)
    return told


def _compare_steps(told: WholePlan, lines: Sequence[dict[str, Any]]) -> None:
    planned = told.plan.training
    assert planned is not None
    trained = [line for line in lines if line["phase"] == "training"]
    steps = [line for line in trained if "loss" in line]
    # Lines in quick succession are thinned out: that of the last step may give way to its validation's.
    _same("the last step", max(line["step"] for line in trained), planned.total_steps)
    _same("all steps", {line["totalSteps"] for line in steps}, {planned.total_steps})
    _same("epochs", {line["totalEpochs"] for line in steps}, {planned.total_epochs})
    _same("all steps", planned.total_epochs * planned.steps_per_epoch, planned.total_steps)
    for line in steps:
        _same(f"the epoch of step {line['step']}", line["epoch"], -(-line["step"] // planned.steps_per_epoch))
    encoded = {line["total"] for line in lines if line["phase"] == "caching"}
    wanted = planned.latents_to_encode + planned.texts_to_encode
    _same("encoded", encoded, {wanted} if wanted else set())


def _compare_buckets(told: WholePlan, copies: dict[str, Path], *, on_disk: bool) -> None:
    """Compares the buckets with the names of the arrays in the caches of each picture. `copies`: the job's copy of
    each folder, by the folder that the plan names."""
    wanted: dict[Path, set[str]] = {}
    for picture in told.pictures if on_disk else ():
        path, size, bucket = Path(picture.path), picture.size, picture.bucket
        file = copies[str(path.parent)] / f"{path.stem}_{size.width:04d}x{size.height:04d}_flux.npz"
        wanted.setdefault(file, set()).add(f"latents_{bucket.height // 8}x{bucket.width // 8}.npy")
    found = {
        file: {array for array in zipfile.ZipFile(file).namelist() if _has_latents(array)}
        for copy in copies.values()
        for file in copy.glob("*x*_flux.npz")
    }
    _same("caches", found, wanted)
    trained = {
        (picture.part, picture.bucket) for picture in told.pictures if picture.repeats and not picture.validated
    }
    _same("buckets", trained, {(bucket.part, bucket.size) for bucket in told.buckets})
    assert told.plan.training is not None
    batches = sum(bucket.batches for bucket in told.buckets)
    _same("batches of the buckets", batches, told.plan.training.batches_per_epoch)


def _same(what: str, found: object, planned: object) -> None:
    assert found == planned, f"{what}: {found}, but the plan said {planned}"


def _has_latents(array: str) -> bool:
    return array.startswith("latents_") and "flipped" not in array
