# SPDX-License-Identifier: Apache-2.0
"""`submit --plan` with a real daemon and the real trainer: it queues nothing, and names the user's own files. (The
training is compared with its plan in tests/daemon/plans/.)"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import Context, Part
from fluxgymctl.prose import plan_page
from fluxgymctl.prose.plan_page import WholePlan
from tests.daemon.running import RunningDaemon, context, model_flags
from tests.fluxgymctl.program import ctl


def plan(daemon: RunningDaemon, job: Context) -> WholePlan:
    with Connection(daemon.socket) as connection:
        return plan_page.gathered(connection.stream(m.PLAN, m.SubmitParameters(job=job)))


def test_a_job_with_parts_has_a_copy_of_each_and_records_what_it_was(
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
    job = context("my-lora", model, dataset=None, parts=parts, epochs=1, trigger_word="s1gn", repeats=1, held=True)
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
    copies = {place: len(list((daemon.folder("my-lora") / "dataset" / place).glob("*.png"))) for place in ("1", "2")}
    assert copies == {"1": 5, "2": 3}
    assert "A job named my-lora already exists" in plan(daemon, job).plan.problems[0]
    said = ctl("history", "my-lora", socket=daemon.socket).stdout
    assert "with 8 pictures in 2 parts, with revision" in said


def test_fluxgymctl_prints_the_plan_or_why_the_job_would_be_refused(daemon: RunningDaemon, model: Path) -> None:
    dataset = model / "pictures"
    words = ("submit", "my-lora", "--plan", f"--dataset={dataset}", "--resolution=64", *model_flags(model))
    done = ctl(*words, socket=daemon.socket)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("my-lora: 8 pictures, ")
    assert "Time:   not known" in done.stdout
    told = json.loads(ctl(*words, "--json", socket=daemon.socket).stdout)
    assert (len(told["pictures"]), told["plan"]["problems"]) == (8, [])
    assert {Path(picture["path"]).parent for picture in told["pictures"]} == {dataset}
    assert 0 < told["plan"]["disk"]["caches"] < told["plan"]["disk"]["free"]
    assert (told["plan"]["ahead"], told["plan"]["running"]) == (0, 0)
    refused = ctl(*words, "--network-dim=4", "-o", "learning_rat=1", "--after=nobody", socket=daemon.socket)
    assert refused.returncode == 2
    assert refused.stdout.startswith("my-lora would be refused.\n- There is no job nobody.\n- ")
    assert "learning_rat" in refused.stdout
    assert "nothing to --follow" in ctl(*words, "--follow", socket=daemon.socket).stderr
    assert daemon.jobs() == []
    assert list(daemon.folder("my-lora").parent.iterdir()) == []
