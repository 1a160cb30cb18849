# SPDX-License-Identifier: Apache-2.0
"""Plans without a real trainer: all problems at once, GPUs, programs, trainers that cannot say what they will do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from fluxgym.protocol.messages import Context, Kind, Model
from fluxgymd.core.datasets import events as e
from fluxgymd.core.gpu import Reading
from fluxgymd.core.journal.events import encode
from fluxgymd.gpus.machine import Gpus
from fluxgymd.gpus.probe import ProbeAnswer
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.plan import MOST_SENTENCES, Planned, Planner
from fluxgymd.requests.speeds import Speeds
from fluxgymd.requests.submit import Submitter
from fluxgymd.run.preflight import Preflight
from fluxgymd.store.home import JOURNAL, Home
from fluxgymd.store.pictures import PictureStore
from fluxgymd.store.writer import Writer
from fluxgymd.trainers.choice import Trainers
from tests.core.datasets.histories import created, stored
from tests.core.histories import CONTEXT
from tests.requests.stored import sources_of
from tests.store.files import safetensors
from tests.trainers.adapters import trainers
from tests.trainers.plans import plan as told_plan
from tests.trainers.talking import TalkingTrainer, problem

PROGRAM = Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/true"])


class FakeGpus(Gpus):
    """GPUs that answer at once."""

    def __init__(self, *readings: Reading) -> None:
        super().__init__()
        self._take(ProbeAnswer(gpus=readings, works=True))

    async def ask(self, *, max_age: float = 0.0) -> tuple[Reading, ...]:
        del max_age
        return self._readings


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    home = Home(tmp_path / "home")
    home.prepare()
    made = Registry(home, Writer())
    yield made
    made.writer.close()


@pytest.fixture
def talking(tmp_path: Path) -> TalkingTrainer:
    return TalkingTrainer(tmp_path / "trainer")


def plan(registry: Registry, job: Context, known: Trainers | None = None, *gpus: Reading) -> Planned:
    known, machine = known or trainers(), FakeGpus(*gpus)
    preflight = Preflight(registry, known, machine)
    planner = Planner(
        registry,
        submitter=Submitter(registry, preflight, known, Copier(), sources_of(registry)),
        preflight=preflight,
        trainers=known,
        gpus=machine,
        speeds=Speeds(registry, known, "m" * 32),
    )
    return asyncio.run(planner.plan(job))


def training(**changes: Any) -> Context:
    return msgspec.structs.replace(CONTEXT, **changes)


def known(talking: TalkingTrainer) -> Trainers:
    return trainers(talking.path, python=Path(sys.executable))


def test_all_problems_are_told_at_once(registry: Registry, talking: TalkingTrainer) -> None:
    talking.problem("the optimizer is unknown.")
    gpu = Reading(index=0, uuid="GPU-1", name="RTX 4090", memory_total=24 << 30)
    told = plan(registry, training(gpus=["7"], dataset="/nowhere"), known(talking), gpu).plan
    assert told.problems[0] == "There is no GPU 7 on this machine; give 0 to 0, or a UUID."
    assert "the optimizer is unknown." in told.problems
    assert any("/nowhere" in sentence for sentence in told.problems)
    assert (told.training, told.disk, told.time) == (None, None, None)


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        (training(name="a/b"), "a/b"),
        (training(epochs=0), "epochs is 0, but must be from 1"),
        (msgspec.structs.replace(PROGRAM, after=["nobody"]), "There is no job nobody."),
        (msgspec.structs.replace(PROGRAM, program=["/bin/no-such-program"]), "The program /bin/no-such-program"),
    ],
)
def test_what_a_submit_refuses_is_a_problem_of_the_plan(registry: Registry, job: Context, sentence: str) -> None:
    (problem_told,) = plan(registry, job).plan.problems
    assert sentence in problem_told
    assert list(registry.home.outputs.iterdir()) == []


def test_a_plan_says_what_of_a_stored_dataset_is_not_used(registry: Registry, talking: TalkingTrainer) -> None:
    picture = stored("a.png", mask="f" * 64)
    home = registry.home.path
    file = PictureStore(home).file(picture.sha256, ".png")
    file.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(file)
    journal = home / "datasets/cats" / JOURNAL
    journal.parent.mkdir()
    journal.write_bytes(encode(created()) + encode(e.Added(at=2.0, pictures=(picture,))))
    told = plan(registry, training(dataset="cats"), known(talking)).plan
    assert told.warnings[0] == "The masks of 1 picture of cats are not used; -o alpha_mask uses them."


def test_a_trainer_that_gives_no_plan_leaves_steps_and_time_open(
    registry: Registry, talking: TalkingTrainer, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    files = {field: tmp_path / f"{field}.safetensors" for field in ("transformer", "clip_l", "t5xxl", "autoencoder")}
    for file in files.values():
        file.write_bytes(safetensors({"double_blocks.0.img_attn.qkv.weight": [24, 8]}))
    model = Model(**{field: str(file) for field, file in files.items()})
    told = plan(registry, training(dataset=str(pictures), model=model), known(talking)).plan
    assert told.problems == []
    (warning,) = told.warnings
    assert warning.startswith("The trainer gave no plan, so steps, buckets and time are not known.")
    assert (told.training, told.time) == (None, None)


def test_a_program_has_nothing_to_plan(registry: Registry) -> None:
    told = plan(registry, PROGRAM).plan
    assert (told.problems, told.warnings, told.training, told.disk) == ([], [], None, None)


def test_a_long_list_of_problems_fits_into_a_message(registry: Registry, talking: TalkingTrainer) -> None:
    talking.answer(problems=[problem(f"picture {number} is damaged.") for number in range(MOST_SENTENCES + 50)])
    told = plan(registry, training(dataset="/nowhere"), known(talking)).plan
    assert len(told.problems) == MOST_SENTENCES + 1
    assert told.problems[-1].startswith("There are ")


def test_the_trainer_is_told_the_memory_of_the_smallest_gpu_that_the_job_may_get(
    registry: Registry, talking: TalkingTrainer
) -> None:
    script = talking.script.read_text()
    script = script.replace(
        'parser.add_argument("--resume")',
        'parser.add_argument("--resume")\nparser.add_argument("--plan", action="store_true")',
    )
    script = script.replace('"cwd": os.getcwd()', '"cwd": os.environ.get("FLUXGYM_GPU_BYTES")')
    talking.script.write_text(script)
    talking.answer(plan=told_plan())
    gpus = [
        Reading(index=index, uuid=f"GPU-{index}", name="RTX", memory_total=size)
        for index, size in enumerate((30, 20, 10))
    ]
    plan(registry, training(gpus=["0", "1"], dataset="/nowhere"), known(talking), *gpus)
    asked = talking.asked[-1]
    assert asked["cwd"] == "20"
    assert asked["argv"][-1] == "--plan"
