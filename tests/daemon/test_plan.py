# SPDX-License-Identifier: Apache-2.0
"""`submit --plan` with a real daemon and the real trainer: it queues nothing, and what it says is what happens."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import msgspec

from fluxgym import methods as m
from fluxgym.client import Connection
from fluxgym.messages import Context, Part, State
from fluxgymctl import plan_page
from fluxgymctl.plan_page import WholePlan
from tests.daemon.running import RunningDaemon, context, tiny_model, whole_lines
from tests.fluxgymctl.program import ctl


def plan(daemon: RunningDaemon, job: Context) -> WholePlan:
    with Connection(daemon.socket) as connection:
        return plan_page.gathered(connection.stream(m.PLAN, m.SubmitParameters(job=job)))


def test_the_plan_is_what_the_job_then_does(daemon: RunningDaemon, model: Path) -> None:
    options = {"train_batch_size": ["3"], "gradient_accumulation_steps": ["2"]}
    job = context("my-lora", model, epochs=2, trigger_word="s1gn")
    job = msgspec.structs.replace(job, trainer_options={**(job.trainer_options or {}), **options})
    told = plan(daemon, job)
    assert daemon.jobs() == []
    assert (told.plan.problems, told.plan.ahead, told.plan.running) == ([], 0, 0)
    assert told.plan.time is None  # nothing has run here
    assert {Path(picture.path).parent for picture in told.pictures} == {model / "pictures"}
    assert list(daemon.folder("my-lora").parent.iterdir()) == []
    training, disk = told.plan.training, told.plan.disk
    assert training is not None
    assert disk is not None
    assert 0 < disk.caches < disk.free
    assert (training.latents_to_encode, training.texts_to_encode) == (8, 8)

    daemon.submit(job)
    assert "A job named my-lora already exists" in plan(daemon, job).plan.problems[0]
    daemon.wait("my-lora", State.COMPLETED)
    folder = daemon.folder("my-lora")
    lines = whole_lines(folder / "metrics.jsonl")
    last = [line for line in lines if "totalEpochs" in line][-1]
    assert (last["step"], last["totalSteps"], last["totalEpochs"]) == (training.total_steps,) * 2 + (2,)
    assert max(line["total"] for line in lines if line["phase"] == "caching" and "total" in line) == 16
    sizes = {
        Path(picture.path).stem: f"latents_{picture.bucket.height // 8}x{picture.bucket.width // 8}.npy"
        for picture in told.pictures
    }
    cached = {
        file.name.removesuffix("_flux.npz").rpartition("_")[0]: set(zipfile.ZipFile(file).namelist())
        for file in (folder / "dataset").glob("*x*_flux.npz")
    }
    assert {stem: sizes[stem] in arrays for stem, arrays in cached.items()} == dict.fromkeys(sizes, True)
    assert len(list(folder.glob("*.safetensors"))) == training.loras

    again = plan(daemon, msgspec.structs.replace(job, name="second", seed=7)).plan.time
    assert again is not None
    assert (again.jobs, again.rough) == (1, False)
    assert again.seconds == again.seconds_per_step * training.total_steps
    wider = plan(daemon, msgspec.structs.replace(job, name="second", network_dim=8)).plan.time
    assert wider is not None
    assert wider.rough


def test_a_job_with_parts_trains_each_and_records_what_it_was(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    """One part is a folder of five pictures, the other a stored dataset of three regularisation pictures."""
    signs = folder / "signs"
    shutil.copytree(model / "pictures", signs)
    pictures = sorted(signs.glob("*.png"))
    for picture in pictures[5:]:
        picture.unlink()
    pictures[0].with_suffix(".txt").unlink()
    pictures[1].with_suffix(".txt").write_text("a sign,\nred")
    (signs / "IMG_1.heic").touch()
    others = sorted((model / "pictures").glob("*.png"))[:3]
    for words in (("create", "others"), ("add", "others", *map(str, others))):
        done = ctl("dataset", *words, socket=daemon.socket)
        assert done.returncode == 0, done.stderr
    parts = [Part(dataset=str(signs)), Part(dataset="others", repeats=2, regularisation=True, caption="a shape")]
    job = context("my-lora", model, dataset=None, parts=parts, epochs=1, trigger_word="s1gn", repeats=1)
    told = plan(daemon, job)
    assert told.plan.problems == []
    assert not any("more than one line" in warning for warning in told.plan.warnings)  # it is asked about the copies
    assert {(str(Path(each.path).parent), each.regularisation) for each in told.pictures} == {
        (str(signs), False),
        ("others", True),
    }
    training = told.plan.training
    assert training is not None
    assert (training.repeated_pictures, training.steps_per_epoch) == (5, 11)

    warnings = daemon.submit(job).warnings
    assert warnings[0].startswith(f"{signs}: 1 picture in another format is left out")
    daemon.wait("my-lora", State.COMPLETED)
    home = daemon.folder("my-lora")
    copies = {place: len(list((home / "dataset" / place).glob("*.png"))) for place in ("1", "2")}
    assert copies == {"1": 5, "2": 3}
    assert len(list((home / "dataset").glob("*/*x*_flux.npz"))) == 8
    last = [line for line in whole_lines(home / "metrics.jsonl") if "totalSteps" in line][-1]
    assert (last["step"], last["totalSteps"]) == (training.total_steps,) * 2
    said = ctl("history", "my-lora", socket=daemon.socket).stdout
    assert "with 8 pictures in 2 parts, with revision" in said


def test_fluxgymctl_prints_the_plan_or_why_the_job_would_be_refused(daemon: RunningDaemon, model: Path) -> None:
    files = msgspec.structs.asdict(tiny_model(model))
    flags = [f"--{name.replace('_', '-')}={path}" for name, path in files.items() if path]
    words = ("submit", "my-lora", "--plan", f"--dataset={model / 'pictures'}", "--resolution=64", *flags)
    done = ctl(*words, socket=daemon.socket)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("my-lora: 8 pictures, ")
    assert "Time:   not known" in done.stdout
    told = json.loads(ctl(*words, "--json", socket=daemon.socket).stdout)
    assert (len(told["pictures"]), told["plan"]["problems"]) == (8, [])
    refused = ctl(*words, "--network-dim=4", "-o", "learning_rat=1", "--after=nobody", socket=daemon.socket)
    assert refused.returncode == 2
    assert refused.stdout.startswith("my-lora would be refused.\n- There is no job nobody.\n- ")
    assert "learning_rat" in refused.stdout
    assert "nothing to --follow" in ctl(*words, "--follow", socket=daemon.socket).stderr
    assert daemon.jobs() == []
