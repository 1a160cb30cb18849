# SPDX-License-Identifier: Apache-2.0
"""Tests of a job's copy of its pictures that was deleted or changed: the error says so, and how to repair it."""

from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Part
from fluxgymd.core.journal.events import Copied, CopiedPart
from fluxgymd.snapshots import contents, subsets
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import presence
from fluxgymd.trainers.port import ProblemKind, Question
from tests.core.histories import CONTEXT

NAMES = ("p0.png", "p1.png", "p2.png")


class Pictures:
    """The user's pictures, and the job's copy of them."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "pictures"
        self.folder = JobFolder(folder / "my-lora")
        self.copy = self.folder.dataset
        for place in (self.source, self.copy):
            place.mkdir(parents=True)
            for name in NAMES:
                (place / name).touch()
        self.copied: Copied | None = Copied(pictures=3, names=contents.hash_of(NAMES))

    def told(self) -> list[str]:
        context = msgspec.structs.replace(CONTEXT, dataset=str(self.source))
        question = Question(context=context, folder=self.folder, pictures=(self.copy,), copied=self.copied)
        found = [problem for problem in presence.problems(question) if problem.kind is ProblemKind.DATASET]
        assert all((problem.setting, problem.path) == ("dataset", str(self.copy)) for problem in found)
        return [problem.sentence for problem in found]

    def empty(self, folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path)


def test_an_unchanged_copy_is_fine_with_what_a_trainer_adds(pictures: Pictures) -> None:
    (pictures.copy / "p0_0064x0064_flux.npz").touch()
    (pictures.copy / "p0.txt").write_text("a caption")
    assert pictures.told() == []


@pytest.mark.parametrize("known", [True, False])
def test_a_missing_copy_is_restored(pictures: Pictures, known: bool) -> None:
    pictures.empty(pictures.copy)
    if not known:
        pictures.copied = None
    gone = f"The job's copy of its pictures, {pictures.copy}, is gone; "
    assert pictures.told() == [f"{gone}copy them back from {pictures.source}."]
    pictures.copy.mkdir()
    assert pictures.told() == [f"{gone}copy them back from {pictures.source}."]
    pictures.empty(pictures.source)
    assert pictures.told() == [f"{gone}put them back, or submit the job again under another name."]


def test_pictures_that_are_missing_or_new_are_named(pictures: Pictures) -> None:
    changed = f"The job's copy of its pictures, {pictures.copy}, has changed: it holds"
    (pictures.copy / "p1.png").unlink()
    (back,) = pictures.told()
    assert (
        back == f"{changed} 2 of them, not 3 as when the job was submitted; put p1.png back from {pictures.source}."
    )
    (pictures.copy / "new.png").touch()
    (both,) = pictures.told()
    assert (
        both == f"{changed} other pictures than when the job was submitted; "
        f"put p1.png back from {pictures.source} and remove new.png."
    )


def test_if_the_originals_have_changed_too_nothing_is_promised_about_them(pictures: Pictures) -> None:
    (pictures.copy / "p1.png").unlink()
    (pictures.source / "p1.png").unlink()
    (told,) = pictures.told()
    assert told.endswith("when the job was submitted; put them back, or submit the job again under another name.")


def test_a_part_that_has_changed_is_named(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "my-lora")
    parts = []
    for number in ("1", "2"):
        source = tmp_path / f"pictures-{number}"
        for place in (source, folder.dataset / number):
            place.mkdir(parents=True)
            (place / f"{number}.png").touch()
        parts.append(Part(dataset=str(source)))
    context = msgspec.structs.replace(CONTEXT, dataset=None, parts=parts)
    each = tuple(CopiedPart(pictures=1, names=contents.hash_of([f"{number}.png"])) for number in (1, 2))
    copied = Copied(pictures=2, names="", parts=each)
    folders = subsets.folders(context, folder.dataset)
    question = Question(context=context, folder=folder, pictures=folders, copied=copied)

    def told() -> list[tuple[str | None, str]]:
        found = [problem for problem in presence.problems(question) if problem.kind is ProblemKind.DATASET]
        return [(problem.setting, problem.sentence) for problem in found]

    assert told() == []
    (folders[0] / "new.png").touch()
    changed = "has changed: it holds 2 of them, not 1 as when the job was submitted; remove new.png."
    assert told() == [("parts", f"The job's copy of its pictures, {folders[0]}, {changed}")]
    (folders[0] / "new.png").unlink()
    (folders[1] / "2.png").unlink()
    back = f"copy them back from {tmp_path}/pictures-2."
    assert told() == [("parts", f"The job's copy of its pictures, {folders[1]}, is gone; {back}")]


def test_for_an_older_job_no_change_is_known(pictures: Pictures) -> None:
    pictures.copied = None
    (pictures.copy / "p1.png").unlink()
    assert pictures.told() == []
