# SPDX-License-Identifier: Apache-2.0
"""What the dataset of a job means: a folder, a stored dataset with its crops and repeats, or a mistake."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import DatasetDamaged, FluxgymError, InvalidDataset, InvalidName, InvalidSetting, NoSuchDataset
from fluxgym.protocol.dataset_messages import Crop
from fluxgym.protocol.messages import Context, Kind, Part
from fluxgymd.core.datasets import events as e
from fluxgymd.core.journal.events import encode
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.sources import FromFolder, FromStore, Source, refuse_name
from fluxgymd.snapshots.linked import Item
from fluxgymd.store.home import JOURNAL, Home
from fluxgymd.store.writer import Writer
from tests.core.datasets.histories import added, created, edited, stored
from tests.requests.stored import sources_of


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(Home(tmp_path), Writer())
    yield made
    made.writer.close()


def write(registry: Registry, *events: e.AnyEvent, name: str = "cats") -> Path:
    folder = registry.home.path / "datasets" / name
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_bytes(b"".join(map(encode, (created(), *events))))
    return folder


def resolve(registry: Registry, dataset: str | None, **changes: Any) -> tuple[Context, tuple[Source, ...]]:
    return asyncio.run(sources_of(registry).resolve(Context(name="x", dataset=dataset, **changes)))


def from_store(registry: Registry, **changes: Any) -> tuple[Context, FromStore]:
    context, (source,) = resolve(registry, "cats", **changes)
    assert isinstance(source, FromStore)
    return context, source


def test_a_stored_dataset_gives_the_pictures_that_are_used(registry: Registry, tmp_path: Path) -> None:
    crop = Crop(left=10, top=20, width=30, height=40)
    write(
        registry,
        added("a.png", "b.png", "c.jpg", caption="x"),
        edited("a.png", crop=crop, caption=None),
        edited("b.png", used=False),
    )
    context, source = from_store(registry)
    store = tmp_path / "datasets/.store"
    digests = {name: stored(name).sha256 for name in ("a.png", "c.jpg")}
    files = {name: str(store / digest[:2] / f"{digest}{Path(name).suffix}") for name, digest in digests.items()}
    assert source.items == (
        Item(name="a.png", source=files["a.png"], box=(10, 20, 40, 60)),
        Item(name="c.jpg", source=files["c.jpg"], caption="x"),
    )
    assert (source.name, source.revision, source.notes) == ("cats", 4, ())
    assert context == Context(name="x", dataset="cats")


REPEATS: dict[str, tuple[list[int | None], int | None, int | None, bool]] = {
    "none": ([None, None], None, None, False),
    "the same everywhere": ([5, 5], None, 5, False),
    "the job's own win": ([5, 5], 3, 3, True),
    "equal to the job's own": ([5, 5], 5, 5, False),
    "the job's own win over different ones": ([5, 7], 3, 3, True),
    "the job's own win over those of some": ([5, None], 3, 3, True),
}


@pytest.mark.parametrize(("given", "asked", "used", "said"), REPEATS.values(), ids=REPEATS.keys())
def test_repeats_of_folders(
    registry: Registry, given: list[int | None], asked: int | None, used: int | None, *, said: bool
) -> None:
    pictures = tuple(stored(f"{number}.png", repeats=repeats) for number, repeats in enumerate(given))
    write(registry, e.Added(at=2.0, pictures=pictures))
    context, source = from_store(registry, repeats=asked)
    assert context.repeats == used
    assert any("repeats" in note for note in source.notes) == said


def test_each_folder_of_a_dataset_becomes_a_part_with_its_repeats_and_its_class(registry: Registry) -> None:
    pictures = (
        stored("a.png", repeats=10, class_tokens="c4t cat"),
        stored("b.png", repeats=3),
        stored("c.png", repeats=10, class_tokens="c4t cat"),
        stored("d.png"),
    )
    write(registry, e.Added(at=2.0, pictures=pictures))
    context, sources = resolve(registry, "cats", trigger_word="c4t")
    assert (context.dataset, context.repeats) == (None, None)
    assert context.parts == [
        Part(dataset="cats", folder=""),
        Part(dataset="cats", folder="10_c4t cat", repeats=10, caption="c4t cat"),
        Part(dataset="cats", folder="3_", repeats=3),
    ]
    assert [[item.name for item in source.items] for source in sources if isinstance(source, FromStore)] == [
        ["d.png"],
        ["a.png", "c.png"],
        ["b.png"],
    ]
    assert [source.notes for source in sources if isinstance(source, FromStore)] == [(), (), ()]
    again, same = resolve(registry, None, parts=context.parts, trigger_word="c4t", repeats=5)
    assert (again.parts, same) == (context.parts, sources)
    with pytest.raises(InvalidDataset, match="no picture from a folder 4_cat; it has those from 10_c4t cat, 3_"):
        resolve(registry, None, parts=[Part(dataset="cats", folder="4_cat")])


def test_more_folders_than_a_job_can_have_parts_need_repeats(registry: Registry) -> None:
    pictures = tuple(stored(f"{number}.png", repeats=number) for number in range(1, 66))
    write(registry, e.Added(at=2.0, pictures=pictures))
    with pytest.raises(InvalidSetting) as refused:
        resolve(registry, "cats")
    assert refused.value.message == (
        "Folders with repeats of their own become parts, which makes 65 parts, but a job can have at most 64; give "
        "repeats for all pictures."
    )
    assert len(from_store(registry, repeats=2)[1].items) == 65


def test_the_class_of_folders_is_reported_if_the_job_has_no_trigger_word(registry: Registry) -> None:
    write(registry, e.Added(at=2.0, pictures=(stored("a.png", class_tokens="a cat"), stored("b.png"))))
    (note,) = from_store(registry)[1].notes
    assert note.startswith(
        "The class that the folders of cats gave (a cat) is not used; give it as the trigger word "
    )
    assert from_store(registry, trigger_word="c4t")[1].notes == ()


def test_each_part_has_its_own_pictures_and_what_its_folders_said(registry: Registry) -> None:
    write(registry, e.Added(at=2.0, pictures=(stored("a.png", repeats=5, class_tokens="a cat"),)))
    write(registry, e.Added(at=2.0, pictures=(stored("b.png", repeats=2, class_tokens="cat"),)), name="others")
    plain = registry.home.path / "datasets/plain"
    plain.mkdir()
    parts = [
        *(Part(dataset="cats"), Part(dataset="others", regularisation=True), Part(dataset="plain", repeats=3)),
        Part(dataset="/pictures/more"),
    ]
    context, sources = resolve(registry, None, parts=parts, trigger_word="c4t")
    assert context.parts == [
        *(Part(dataset="cats", repeats=5), Part(dataset="others", repeats=2, regularisation=True, caption="cat")),
        *(Part(dataset=str(plain), repeats=3), Part(dataset="/pictures/more")),
    ]
    cats, others, *folders = sources
    assert isinstance(cats, FromStore)
    assert isinstance(others, FromStore)
    assert [(each.name, each.revision, len(each.items)) for each in (cats, others)] == [
        ("cats", 2, 1),
        ("others", 2, 1),
    ]
    assert folders == [FromFolder(path=plain), FromFolder(path=Path("/pictures/more"))]
    assert (cats.notes, others.notes) == ((), ())
    _, (cats, *_) = resolve(registry, None, parts=parts, repeats=4, trigger_word="c4t")
    assert isinstance(cats, FromStore)
    assert cats.notes == (
        "The repeats that the folders of cats gave are not used; the job's repeats apply to all pictures.",
    )
    own = [Part(dataset="cats", repeats=4)]
    _, (cats, *_) = resolve(registry, None, parts=own, trigger_word="c4t")
    assert isinstance(cats, FromStore)
    assert cats.notes == ("The repeats that the folders of cats gave are not used; the part's repeats apply.",)


def test_several_classes_of_regularisation_pictures_are_no_caption(registry: Registry) -> None:
    pictures = (stored("a.png", class_tokens="cat"), stored("b.png", class_tokens="dog"))
    write(registry, e.Added(at=2.0, pictures=pictures))
    parts = [Part(dataset="/c"), Part(dataset="cats", regularisation=True)]
    context, (_, source) = resolve(registry, None, parts=parts, trigger_word="c4t")
    assert context.parts == parts
    assert isinstance(source, FromStore)
    (note,) = source.notes
    assert note == "The class that the folders of cats gave (cat, dog) is not used; give the part a caption."


def test_masks_count_with_the_flag_and_are_reported_without_it(registry: Registry) -> None:
    write(registry, e.Added(at=2.0, pictures=(stored("a.png", mask="f" * 64), stored("b.png"))))
    _, without = from_store(registry)
    assert without.items[0].mask is None
    assert without.notes == ("The masks of 1 picture of cats are not used; -o alpha_mask uses them.",)
    _, source = from_store(registry, trainer_options={"alpha_mask": []})
    assert str(source.items[0].mask).endswith(f"/ff/{'f' * 64}.png")
    assert (source.items[1].mask, source.notes) == (None, ())


def test_both_forms_are_refused_before_either_is_looked_up(registry: Registry) -> None:
    with pytest.raises(InvalidSetting, match="both dataset and parts"):
        resolve(registry, "dogs", parts=[Part(dataset="cats")])


def test_a_program_has_no_pictures(registry: Registry) -> None:
    """The check of its settings then says that dataset is for trainings."""
    assert resolve(registry, "dogs", kind=Kind.PROGRAM) == (
        Context(name="x", dataset="dogs", kind=Kind.PROGRAM),
        (),
    )


def test_a_name_is_refused_where_only_a_folder_can_be_given() -> None:
    refuse_name(Context(name="x", dataset="/pictures/cats"))
    refuse_name(Context(name="x"))
    with pytest.raises(InvalidSetting, match="dataset is 'cats', but must be the path of a folder here"):
        refuse_name(Context(name="x", dataset="cats"))


def test_a_value_with_a_slash_is_a_folder(registry: Registry) -> None:
    assert resolve(registry, "/pictures/cats")[1] == (FromFolder(path=Path("/pictures/cats")),)
    assert resolve(registry, None)[1] == ()


def test_a_plain_folder_is_trained_like_any_folder(registry: Registry) -> None:
    folder = registry.home.path / "datasets/cats"
    folder.mkdir(parents=True)
    context, sources = resolve(registry, "cats")
    assert (context.dataset, sources) == (str(folder), (FromFolder(path=folder),))


REFUSED: dict[str, tuple[list[e.AnyEvent], str, type[FluxgymError], str]] = {
    "no such dataset": ([], "dogs", NoSuchDataset, "There is no dataset dogs"),
    "no valid name": ([], "My cats", InvalidName, "is not valid"),
    "no pictures": ([], "cats", InvalidDataset, "cats has no pictures; add some"),
    "none used": ([added("a.png"), edited("a.png", used=False)], "cats", InvalidDataset, "no picture that is used"),
    "damaged": ([created()], "cats", DatasetDamaged, "is damaged"),
}


@pytest.mark.parametrize(("events", "name", "kind", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_datasets_that_are_refused(
    registry: Registry, events: list[e.AnyEvent], name: str, kind: type[FluxgymError], said: str
) -> None:
    write(registry, *events)
    with pytest.raises(kind, match=said):
        resolve(registry, name)


def test_a_job_records_the_dataset_and_its_revision() -> None:
    from fluxgymd.core.journal import events

    copied = events.Copied(pictures=2, names="x", dataset="cats", revision=7)
    assert msgspec.json.decode(msgspec.json.encode(copied), type=events.Copied) == copied
