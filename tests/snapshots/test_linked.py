# SPDX-License-Identifier: Apache-2.0
"""A job's pictures from the store: links, copies where links are impossible, and new files for crops and masks."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest
from PIL import Image

from fluxgymd.snapshots import linked
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.snapshots.linked import Item, Order, build
from fluxgymd.snapshots.snapshot import Snapshot
from tests.harness.waiting import DEADLINE_SECONDS

TRIGGERED = Captions(lines=Lines.JOINED, trigger="c4t")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def put(store: Path, color: str = "red", ending: str = ".png") -> str:
    """Stores a picture of 40 x 30 pixels, read-only."""
    path = store / f"picture{ending}"
    Image.new("RGB", (40, 30), color).save(path)
    named = store / f"{hashlib.sha256(path.read_bytes()).hexdigest()}{ending}"
    path.rename(named)
    named.chmod(0o444)
    return str(named)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def order(*parts: Item, links: bool = True) -> Order:
    return Order(items=parts, captions=TRIGGERED, links=links)


def no_reflinks(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_a_picture_is_a_durable_reflink_where_the_file_system_has_them(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def clone(writer: BinaryIO, request: int, reader: int) -> None:
        assert request == linked.FICLONE
        writer.write(os.pread(reader, 1 << 20, 0))

    monkeypatch.setattr("fcntl.ioctl", clone)
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    source = Path(put(store))
    made = build(order(Item(name="a.png", source=str(source))), target)
    assert (target / "a.png").read_bytes() == source.read_bytes()
    assert (target / "a.png").stat().st_ino != source.stat().st_ino
    assert (made.size, str(target / "a.png") in synced) == (0, True)


def test_a_picture_is_a_hard_link_where_there_are_no_reflinks(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.ioctl", no_reflinks)
    source = put(store)
    build(order(Item(name="a.png", source=source)), target)
    assert (target / "a.png").stat().st_ino == Path(source).stat().st_ino
    assert (target / "a.png").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_picture_is_copied_where_links_are_impossible(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def impossible(self: Path, _: Path) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr("fcntl.ioctl", no_reflinks)
    monkeypatch.setattr(Path, "hardlink_to", impossible)
    source = put(store)
    assert build(order(Item(name="a.png", source=source)), target).size == Path(source).stat().st_size
    assert (target / "a.png").stat().st_nlink == Path(source).stat().st_nlink == 1
    assert (target / "a.png").read_bytes() == Path(source).read_bytes()


def test_a_trainer_that_may_write_gets_copies(store: Path, target: Path) -> None:
    source = put(store)
    build(order(Item(name="a.png", source=source), links=False), target)
    (target / "a.png").write_bytes(b"rewritten")
    assert size_of(Path(source)) == (40, 30)


def test_crops_and_masks_are_new_files_with_their_pixels(store: Path, target: Path) -> None:
    source = put(store, ending=".jpg")
    grey = Image.new("L", (40, 30), 255)
    grey.paste(0, (0, 0, 20, 30))
    mask = store / "mask.png"
    grey.save(mask)
    parts = (
        Item(name="a.jpg", source=source, box=(10, 5, 30, 25), caption="x"),
        Item(name="b.jpg", source=source, mask=str(mask)),
    )
    made = build(order(*parts), target)
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "a.txt", "b.png"]
    assert size_of(target / "a.png") == (20, 20)
    with Image.open(target / "b.png") as picture:
        assert [picture.getpixel(place)[3] for place in ((5, 5), (35, 5))] == [0, 255]  # type: ignore[index]
    assert (made.pictures, made.without_caption) == (2, 1)
    assert Path(source).read_bytes()[:2] == b"\xff\xd8"


def test_captions_are_written_as_they_are_trained(store: Path, target: Path) -> None:
    source = put(store)
    build(order(Item(name="a.png", source=source, caption="a cat\non a wall")), target)
    assert (target / "a.txt").read_text(encoding="utf-8") == "c4t, a cat on a wall\n"


def test_a_picture_that_is_missing_in_the_store_is_named(store: Path, target: Path) -> None:
    gone = str(store / "gone.png")
    done = subprocess.run(
        [sys.executable, "-m", linked.__name__, target],
        input=msgspec.json.encode(order(Item(name="a.png", source=gone))),
        capture_output=True,
        timeout=DEADLINE_SECONDS,
    )
    made = msgspec.json.decode(done.stdout, type=Snapshot)
    assert made.problem == f"{gone} is missing in the store of pictures; put it back, or add its picture again."
    assert not made.storage
    with pytest.raises(FileNotFoundError):  # it is not the picture that is missing here
        linked._built(order(Item(name="a.png", source=put(store))), target / "none" / "dataset")
