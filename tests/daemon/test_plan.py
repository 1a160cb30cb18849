# SPDX-License-Identifier: Apache-2.0
"""`submit --plan` with a real daemon and the real trainer: it queues nothing, and what it says is what happens."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import msgspec

from fluxgym import methods as m
from fluxgym.client import Connection
from fluxgym.messages import Context, State
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
