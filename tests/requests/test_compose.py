# SPDX-License-Identifier: Apache-2.0
"""Tests of settings that are made from others: which one overrides which, and what a clone does not take over."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Model, Part, TriggerPlace
from fluxgymd.core.journal import events as e
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.jobs.registry import Registry
from fluxgymd.presets.shelf import Shelf
from fluxgymd.requests.compose import Composer, as_it_trains, composed
from fluxgymd.requests.origins import Origins
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.home import JOURNAL
from tests.core.datasets.histories import created
from tests.core.histories import submitted
from tests.jobs import journals
from tests.trainers.adapters import trainers

BASE = Context(
    name="old",
    dataset="/pictures",
    epochs=16,
    model=Model(clip_l="/c", t5xxl="/t"),
    held=True,
    after=["other"],
    priority=3,
    trainer_options={"fp8_base": [], "loss_type": ["l1"]},
)


def composer_of(registry: Registry, home: Path) -> Composer:
    datasets = Datasets(DatasetFolders(home), registry.disk)
    return Composer(registry, Shelf(home), datasets, Origins(registry, trainers()))


def new(**given: object) -> Context:
    return Context(name="new", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([new()], {}),
        ([Context(name="p", epochs=3), new()], {"epochs": 3}),
        ([Context(name="p", epochs=3), Context(name="q", epochs=4), new()], {"epochs": 4}),
        ([Context(name="p", epochs=3), new(epochs=5)], {"epochs": 5}),
        ([new(held=True, after=["b"])], {"held": True, "after": ["b"]}),
        ([new(model=Model(clip_l="/d"))], {"model": Model(clip_l="/d", t5xxl="/t")}),
        (
            [Context(name="p", trainer_options={"loss_type": ["l2"], "ema_decay": ["0.9"]}), new()],
            {"trainer_options": {"fp8_base": [], "loss_type": ["l2"], "ema_decay": ["0.9"]}},
        ),
        (
            [new(trainer_options={"fp8_base": ["false"]})],
            {"trainer_options": {"fp8_base": ["false"], "loss_type": ["l1"]}},
        ),
    ],
)
def test_the_later_overrides_the_earlier(changes: list[Context], expected: dict[str, object]) -> None:
    plain = {
        "name": "new",
        "dataset": "/pictures",
        "epochs": 16,
        "model": Model(clip_l="/c", t5xxl="/t"),
        "priority": 3,
        "trainer_options": {"fp8_base": [], "loss_type": ["l1"]},
    }
    assert composed(BASE, changes) == Context(**(plain | expected))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("older", "buckets"),
    [({}, False), ({"enable_bucket": []}, True), ({"enable_bucket": ["false"]}, False)],
)
def test_a_job_like_one_of_an_earlier_version_trains_as_that_does(older: dict[str, list[str]], buckets: bool) -> None:
    made = as_it_trains(Context(name="a", dataset="/pictures", trainer_options={**older, "min_bucket_reso": ["64"]}))
    assert (made.trigger_place, made.enable_bucket) == (TriggerPlace.MISSING, buckets)
    assert made.trainer_options == {"min_bucket_reso": ["64"]}
    assert as_it_trains(made) == made
    program = Context(name="a", program=["/bin/true"])
    assert as_it_trains(program) == program


def test_a_job_like_one_of_a_folder_takes_the_folder_as_long_as_it_exists(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    first = submitted(name="first")
    first = msgspec.structs.replace(first, context=msgspec.structs.replace(first.context, dataset=str(pictures)))
    (journals.put(tmp_path, "first", [e.encode(first)]).parent / "dataset").mkdir()
    registry = journals.load(tmp_path)
    composer = composer_of(registry, tmp_path)
    try:
        made, notes = asyncio.run(composer.compose(Context(name="second"), presets=[], like="first"))
    finally:
        registry.writer.close()
    assert (made.dataset, notes) == (str(pictures), [])


def test_a_job_like_one_of_a_stored_dataset_has_the_dataset_as_long_as_that_exists(tmp_path: Path) -> None:
    first = submitted(name="first")
    first = msgspec.structs.replace(first, context=msgspec.structs.replace(first.context, dataset="cats"))
    copy = journals.put(tmp_path, "first", [e.encode(first)]).parent / "dataset"
    copy.mkdir()
    cats = tmp_path / "datasets" / "cats"
    cats.mkdir(parents=True)
    (cats / JOURNAL).write_bytes(e.encode(created()))
    registry = journals.load(tmp_path)

    def like_it() -> tuple[str | None, list[str]]:
        composer = composer_of(registry, tmp_path)
        made, notes = asyncio.run(composer.compose(Context(name="second"), presets=[], like="first"))
        return made.dataset, notes

    try:
        assert like_it() == ("cats", [])
        shutil.rmtree(cats)
        gone = "cats no longer exists, so the pictures that were copied for first are used."
        assert like_it() == (str(copy), [gone])
    finally:
        registry.writer.close()


def test_a_job_like_one_with_parts_has_the_parts_that_exist_and_copies_of_the_others(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    parts = [Part(dataset=str(pictures), repeats=3)]
    parts += [Part(dataset="cats", regularisation=True, folder=folder) for folder in ("1_cat", "2_cat")]
    first = submitted(name="first")
    context = msgspec.structs.replace(first.context, dataset=None, parts=parts)
    journal = journals.put(tmp_path, "first", [e.encode(msgspec.structs.replace(first, context=context))])
    copies = [journal.parent / "dataset" / name for name in ("2", "3")]
    for copy in copies:
        copy.mkdir(parents=True)
    registry = journals.load(tmp_path)

    def like_it(**given: object) -> tuple[Context, list[str]]:
        composer = composer_of(registry, tmp_path)
        return asyncio.run(composer.compose(new(**given), presets=[], like="first"))

    try:
        made, notes = like_it()
        assert made.parts == [parts[0], *(Part(dataset=str(copy), regularisation=True) for copy in copies)]
        assert notes == ["cats no longer exists, so the pictures that were copied for first are used."]
        made, notes = like_it(dataset="dogs")
        assert (made.dataset, made.parts, notes) == ("dogs", None, [])
        made, notes = like_it(parts=[Part(dataset="dogs")])
        assert (made.dataset, made.parts, notes) == (None, [Part(dataset="dogs")], [])
    finally:
        registry.writer.close()
