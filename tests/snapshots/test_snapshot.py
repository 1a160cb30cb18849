# SPDX-License-Identifier: Apache-2.0
"""Tests of the snapshot of a dataset, run as the daemon runs it: what is copied, and the error for each fault."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from fluxgymd.snapshots import contents
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.snapshots.contents import Unfit
from fluxgymd.snapshots.snapshot import Snapshot, copy_of
from tests.harness.rights import WITHOUT_ROOTS_RIGHTS
from tests.harness.waiting import DEADLINE_SECONDS
from tests.store.small_disk import fill, small_disk

KEPT = Captions()
FIRST = Captions(lines=Lines.JOINED, trigger="c4t")


def take(
    source: Path,
    target: Path,
    checkout: Path,
    *shared: Path,
    before: Sequence[str] = (),
    captions: Captions = KEPT,
) -> Snapshot:
    """Runs the program and returns its result."""
    how = msgspec.json.encode(captions)
    done = subprocess.run(
        [*before, sys.executable, "-m", "fluxgymd.snapshots.snapshot", source, target, how, *shared],
        cwd=checkout,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0
    assert done.stderr == b""
    return msgspec.json.decode(done.stdout, type=Snapshot)


def draw(path: Path, *, side: int = 64) -> Path:
    """Writes a picture of noise, which barely compresses, so that a truncated file lacks pixels."""
    picture = Image.effect_noise((side, side), 90.0).convert("RGB")
    picture.save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def test_pictures_and_captions_are_copied_and_nothing_else(source: Path, target: Path, checkout: Path) -> None:
    for name in ("a.png", "b.JPG", "c.webp", "d.bmp", "e.jpeg"):
        draw(source / name)
    (source / "a.txt").write_text("a cat\n")
    (source / "b.txt").write_text("")
    for name in (".hidden.png", "movie.mp4", "a.npz"):
        (source / name).write_text("not for the training")

    outcome = take(source, target, checkout)

    copied = {file.name: file.read_bytes() for file in target.iterdir()}
    expected = ["a.png", "a.txt", "b.JPG", "b.txt", "c.webp", "d.bmp", "e.jpeg"]
    assert copied == {name: (source / name).read_bytes() for name in expected}
    names = contents.hash_of(["a.png", "b.JPG", "c.webp", "d.bmp", "e.jpeg"])
    assert outcome == Snapshot(pictures=5, names=names, without_caption=3, size=sum(map(len, copied.values())))


def test_the_pictures_of_the_second_job_are_links_to_those_of_the_first(
    source: Path, target: Path, checkout: Path, tmp_path: Path
) -> None:
    """Captions belong to a job. A picture that has changed since is copied."""
    for name in ("a.png", "b.JPG"):
        draw(source / name)
    (source / "a.txt").write_text("a cat")
    first, shared = tmp_path / "first", tmp_path / ".pictures"
    before = take(source, first, checkout, shared)
    draw(source / "b.JPG", side=32)
    outcome = take(source, target, checkout, shared, captions=FIRST)
    assert {file.name: file.stat().st_nlink for file in target.iterdir()} == {"a.png": 3, "a.txt": 1, "b.JPG": 2}
    assert (target / "a.png").samefile(first / "a.png")
    assert (target / "b.JPG").read_bytes() == (source / "b.JPG").read_bytes() != (first / "b.JPG").read_bytes()
    assert before.size == sum(file.stat().st_size for file in first.iterdir())
    assert outcome.size == (source / "b.JPG").stat().st_size + len("c4t, a cat\n")


def test_the_copies_of_captions_are_the_text_that_is_trained(source: Path, target: Path, checkout: Path) -> None:
    captions = {"a": b"\xef\xbb\xbfa cat\non a mat\n", "b": b"c4t\n", "c": b"caf\xe9", "d": b"\n"}
    for name, data in captions.items():
        draw(source / f"{name}.png")
        (source / f"{name}.txt").write_bytes(data)
    draw(source / "e.png")
    outcome = take(source, target, checkout, captions=FIRST)
    written = {name: (target / f"{name}.txt").read_bytes() for name in captions}
    assert written == captions | {"a": b"c4t, a cat on a mat\n"}
    assert not (target / "e.txt").exists()  # class_tokens is its caption
    assert (outcome.without_caption, outcome.rewritten) == (1, 1)
    assert outcome.size == sum(file.stat().st_size for file in target.iterdir())
    assert {name: (source / f"{name}.txt").read_bytes() for name in captions} == captions


def test_a_caption_that_no_encoder_could_read_is_refused(source: Path, target: Path, checkout: Path) -> None:
    draw(source / "a.png")
    caption = source / "a.txt"
    caption.write_bytes(b"c4t" * (1 << 20))
    outcome = take(source, target, checkout, captions=FIRST)
    assert outcome.problem == f"The caption {caption} has more than 1 MiB; give its picture a short text."
    assert take(source, target.with_name("second"), checkout).problem is None


def test_captions_with_another_extension_are_copied_in_their_place(
    source: Path, target: Path, checkout: Path
) -> None:
    draw(source / "a.png")
    draw(source / "b.png")
    for name in ("a.txt", "a.caption", "b.txt"):
        (source / name).write_text(name)
    outcome = take(source, target, checkout, captions=Captions(ending=".caption"))
    assert sorted(file.name for file in target.iterdir()) == ["a.caption", "a.png", "b.png"]
    assert outcome.without_caption == 1
    assert outcome.notes == (
        (
            "2 caption files with other names are left out (the first is a.txt); a caption has the name of its "
            "picture but ends in .caption, e.g. cat.caption for cat.png."
        ),
    )


def test_files_left_out_are_noted_once_for_each_kind(source: Path, target: Path, checkout: Path) -> None:
    draw(source / "a.png")
    Image.new("RGB", (64, 64)).save(
        source / "b.webp", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")]
    )
    (source / "more").mkdir()
    draw(source / "more" / "c.png")
    for name in ("a.caption", "d.HEIC", "e.gif", "f.txt", os.fsdecode(b"caf\xe9.txt")):
        (source / name).write_text("left out")
    assert [note.partition(";")[0] for note in take(source, target, checkout).notes] == [
        "2 pictures in other formats are left out (the first is d.HEIC)",
        "1 picture in a subfolder is left out (more/c.png)",
        "1 caption file with another name is left out (a.caption)",
        "2 captions without a picture are left out (the first is caf\ufffd.txt)",
        "1 picture is animated: all frames but the first are left out (b.webp).",
    ]
    assert sorted(file.name for file in target.iterdir()) == ["a.png", "b.webp"]


def test_a_link_is_copied_as_what_it_points_to(source: Path, target: Path, checkout: Path, tmp_path: Path) -> None:
    (source / "a.png").symlink_to(draw(tmp_path / "far.png"))
    assert take(source, target, checkout).pictures == 1
    assert not (target / "a.png").is_symlink()


def test_an_empty_folder_is_refused(source: Path, target: Path, checkout: Path) -> None:
    (source / "notes.txt").write_text("no picture")
    assert take(source, target, checkout) == Snapshot(
        path=str(source),
        problem=f"The dataset {source} contains no pictures; it needs at least one (.png, .jpg, .jpeg, .webp, .bmp).",
    )
    assert not target.exists()


def test_a_file_is_not_a_dataset(source: Path, target: Path, checkout: Path) -> None:
    file = draw(source / "a.png")
    assert take(file, target, checkout) == Snapshot(
        path=str(file), problem=f"The dataset {file} is not a folder; give the folder with the pictures."
    )


def test_a_missing_folder_is_reported(source: Path, target: Path, checkout: Path) -> None:
    missing = source / "missing"
    assert take(missing, target, checkout) == Snapshot(
        path=str(missing), problem=f"The folder {missing} does not exist; give the folder with the pictures."
    )


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("folder", "is a folder, not a file"),
        ("pipe", "is not a file"),
        ("dangling link", "is a link to nowhere, which does not exist"),
    ],
)
def test_a_path_that_is_not_a_file_is_named_and_not_waited_for(
    source: Path, target: Path, checkout: Path, kind: str, problem: str
) -> None:
    path = source / "a.png"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dangling link":
            path.symlink_to("nowhere")
    assert take(source, target, checkout) == Snapshot(path=str(path), problem=f"The picture {path} {problem}.")


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("folder", "is a folder, not a file"),
        ("pipe", "is not a file"),
        ("dangling link", "is a link to nowhere, which does not exist"),
    ],
)
def test_a_caption_that_is_not_a_file_is_named_and_not_waited_for(
    source: Path, target: Path, checkout: Path, kind: str, problem: str
) -> None:
    draw(source / "a.png")
    caption = source / "a.txt"
    match kind:
        case "folder":
            caption.mkdir()
        case "pipe":
            os.mkfifo(caption)
        case "dangling link":
            caption.symlink_to("nowhere")
    outcome = take(source, target, checkout)
    assert (outcome.path, outcome.problem) == (str(caption), f"The caption {caption} {problem}.")
    assert not outcome.storage


@pytest.mark.parametrize("unreadable", [".", "a.png", "a.txt"])
def test_a_file_that_this_user_may_not_read_is_named(
    source: Path, target: Path, checkout: Path, unreadable: str
) -> None:
    draw(source / "a.png")
    (source / "a.txt").write_text("a cat\n")
    (source / unreadable).chmod(0)
    outcome = take(source, target, checkout, before=WITHOUT_ROOTS_RIGHTS)
    (source / unreadable).chmod(0o700)
    path = os.path.normpath(source / unreadable)
    assert outcome.path == path
    assert str(outcome.problem).endswith(f"{path} cannot be read: permission denied; make it readable for your user.")
    assert not outcome.storage


def test_a_name_that_the_jobs_disk_rejects_is_reported_as_the_pictures_fault(tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    too_long = tmp_path / "x".ljust(300, "x")
    with pytest.raises(Unfit, match=r"The name of .*a\.png is too long for the disk of the jobs; shorten it\.$"):
        copy_of(source, too_long)


def test_two_pictures_of_one_name_are_refused(source: Path, target: Path, checkout: Path) -> None:
    for name in ("cat.png", "cat.jpg"):
        draw(source / name)
    assert take(source, target, checkout) == Snapshot(
        path=str(source / "cat.png"), problem="The pictures cat.jpg and cat.png have the same name; rename one."
    )
    assert not target.exists()


def test_a_name_that_is_not_utf8_is_copied_and_can_be_reported(source: Path, target: Path, checkout: Path) -> None:
    odd = source / os.fsdecode(b"caf\xe9.png")
    draw(odd)
    assert take(source, target, checkout).pictures == 1
    assert (target / odd.name).read_bytes() == odd.read_bytes()
    odd.write_bytes(b"torn")
    outcome = take(source, target.with_name("second"), checkout)
    assert outcome.path == f"{source}/caf\ufffd.png"
    assert f"The picture {source}/caf\ufffd.png is not a picture" in str(outcome.problem)


def test_a_full_disk_is_reported_as_a_disk_problem(source: Path, checkout: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(source / name, side=128)
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, pages=16) as disk:
        (disk / "built").mkdir()
        fill(disk)
        outcome = take(source, disk / "built" / "dataset", checkout)
    assert outcome.storage
    assert outcome.problem == f"Copying {disk / 'built' / 'dataset'} failed: No space left on device."


def test_a_target_that_exists_is_not_written_into(source: Path, target: Path, checkout: Path) -> None:
    draw(source / "a.png")
    target.mkdir()
    outcome = take(source, target, checkout)
    assert outcome.storage
    assert outcome.problem == f"Copying {target} failed: File exists."
    assert list(target.iterdir()) == []
