# SPDX-License-Identifier: Apache-2.0
"""The snapshot of a dataset, run as the daemon runs it: what is copied, and the sentence for each fault."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from fluxgymd.datasets.snapshot import Snapshot
from tests.store.small_disk import fill, small_disk


def take(source: Path, target: Path, checkout: Path) -> Snapshot:
    """Runs the program."""
    done = subprocess.run(
        [sys.executable, "-m", "fluxgymd.datasets.snapshot", source, target],
        cwd=checkout,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stderr == b""
    return msgspec.json.decode(done.stdout, type=Snapshot)


def draw(path: Path, *, side: int = 64) -> Path:
    """A picture whose every pixel counts, so that a torn file is torn."""
    picture = Image.effect_noise((side, side), 90.0).convert("RGB")
    picture.save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def test_pictures_and_captions_are_copied_and_nothing_else(source: Path, target: Path, checkout: Path) -> None:
    for name in ("a.png", "b.JPG", "c.webp", "d.bmp", "e.jpeg"):
        draw(source / name)
    (source / "a.txt").write_text("a cat\n")
    (source / "b.txt").write_text("")
    for name in ("notes.txt", ".hidden.png", "movie.mp4", "a.npz"):
        (source / name).write_text("not for the training")
    (source / "deeper").mkdir()
    draw(source / "deeper" / "f.png")

    outcome = take(source, target, checkout)

    copied = {file.name: file.read_bytes() for file in target.iterdir()}
    expected = ["a.png", "a.txt", "b.JPG", "b.txt", "c.webp", "d.bmp", "e.jpeg"]
    assert copied == {name: (source / name).read_bytes() for name in expected}
    assert outcome == Snapshot(pictures=5, without_caption=3, size=sum(map(len, copied.values())))


def test_a_link_is_copied_as_what_it_points_to(source: Path, target: Path, checkout: Path, tmp_path: Path) -> None:
    (source / "a.png").symlink_to(draw(tmp_path / "far.png"))
    assert take(source, target, checkout).pictures == 1
    assert not (target / "a.png").is_symlink()


def test_an_empty_folder_is_refused(source: Path, target: Path, checkout: Path) -> None:
    (source / "notes.txt").write_text("no picture")
    assert take(source, target, checkout) == Snapshot(
        path=str(source),
        problem=f"The dataset {source} holds no picture; it needs at least one of .png, .jpg, .jpeg, .webp, .bmp.",
    )
    assert not target.exists()


def test_a_file_is_no_dataset(source: Path, target: Path, checkout: Path) -> None:
    file = draw(source / "a.png")
    assert take(file, target, checkout) == Snapshot(
        path=str(file), problem=f"The dataset {file} is not a folder; give the folder of the pictures."
    )


def test_a_missing_folder_is_told(source: Path, target: Path, checkout: Path) -> None:
    missing = source / "missing"
    assert take(missing, target, checkout) == Snapshot(
        path=str(missing), problem=f"The dataset {missing} cannot be read: No such file or directory."
    )


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp", "b.bmp"])
def test_a_truncated_picture_is_named(source: Path, target: Path, checkout: Path, name: str) -> None:
    draw(source / "a.png")
    torn = draw(source / name)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    outcome = take(source, target, checkout)
    assert outcome.path == str(torn)
    assert outcome.problem is not None
    assert outcome.problem.startswith(f"The picture {torn} cannot be read: ")
    assert outcome.problem.endswith(".")
    assert not outcome.storage


@pytest.mark.parametrize("content", [b"", b"not a picture", bytes(1000), b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_named(source: Path, target: Path, checkout: Path, content: bytes) -> None:
    (source / "a.png").write_bytes(content)
    outcome = take(source, target, checkout)
    assert outcome.path == str(source / "a.png")
    assert f"The picture {source / 'a.png'} cannot be read: " in str(outcome.problem)


def test_a_picture_that_would_fill_the_memory_is_refused(source: Path, target: Path, checkout: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(source / "bomb.png")
    outcome = take(source, target, checkout)
    assert outcome.path == str(source / "bomb.png")
    assert "decompression bomb" in str(outcome.problem)


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_what_is_no_file_is_named_and_not_waited_for(source: Path, target: Path, checkout: Path, kind: str) -> None:
    path = source / "a.png"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dangling link":
            path.symlink_to("nowhere")
    assert take(source, target, checkout) == Snapshot(path=str(path), problem=f"The picture {path} is not a file.")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_caption_that_is_no_file_is_named_and_not_waited_for(
    source: Path, target: Path, checkout: Path, kind: str
) -> None:
    draw(source / "a.png")
    caption = source / "a.txt"
    if kind == "folder":
        caption.mkdir()
    else:
        os.mkfifo(caption)
    outcome = take(source, target, checkout)
    assert (outcome.path, outcome.problem) == (str(caption), f"The caption {caption} is not a file.")
    assert not outcome.storage


def test_two_pictures_of_one_name_are_refused(source: Path, target: Path, checkout: Path) -> None:
    for name in ("cat.png", "cat.jpg"):
        draw(source / name)
    assert take(source, target, checkout) == Snapshot(
        path=str(source / "cat.png"), problem="The pictures cat.jpg and cat.png have the same name; rename one."
    )
    assert not target.exists()


def test_a_name_that_is_no_utf8_is_copied_and_can_be_told(source: Path, target: Path, checkout: Path) -> None:
    odd = source / os.fsdecode(b"caf\xe9.png")
    draw(odd)
    assert take(source, target, checkout).pictures == 1
    assert (target / odd.name).read_bytes() == odd.read_bytes()
    odd.write_bytes(b"torn")
    outcome = take(source, target.with_name("second"), checkout)
    assert outcome.path == f"{source}/caf\ufffd.png"
    assert f"The picture {source}/caf\ufffd.png cannot be read" in str(outcome.problem)


def test_a_full_disk_is_told_as_the_disk(source: Path, checkout: Path, tmp_path: Path) -> None:
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
