# SPDX-License-Identifier: Apache-2.0
"""Tests of importing ZIP archives: those of all systems, and those that want to do harm."""

import stat
import zipfile
from pathlib import Path

import pytest

from fluxgymd.pictures import archive
from fluxgymd.pictures.entries import SourceFile
from tests.pictures.drawing import draw
from tests.pictures.importing import files, run


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return draw(tmp_path / "one.png", 1).read_bytes()


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def refused(path: Path) -> dict[str, str]:
    opened, listing = archive.open_archive(path)
    opened.close()
    return {entry.path: entry.refused for entry in listing.entries if entry.refused}


def test_an_archive_is_imported_like_the_folder_in_it(tmp_path: Path, data: bytes) -> None:
    other = draw(tmp_path / "other.png", 2).read_bytes()
    members = {
        "My Photos/a.png": data,
        "My Photos/a.txt": b"a cat",
        "My Photos/10_dog dog/b.png": other,
        "__MACOSX/My Photos/._a.png": b"\0\5\x16\7",
        "My Photos/.DS_Store": b"",
    }
    imported = run(packed(tmp_path / "a.zip", members), tmp_path / "store")
    assert [(line.path, line.caption, line.repeats) for line in imported.pictures] == [
        ("10_dog dog/b.png", None, 10),
        ("a.png", "a cat", None),
    ]
    assert (imported.problems, imported.notes) == ([], [])


def test_what_an_archive_must_not_do_is_refused_and_the_rest_is_imported(tmp_path: Path, data: bytes) -> None:
    path = packed(
        tmp_path / "bad.zip",
        {
            "good.png": data,
            "../up.png": data,
            "/etc/root.png": data,
            "C:\\windows.png": data,
            "a\\..\\..\\b.png": data,
        },
    )
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as made:
        made.writestr(link, "/etc/passwd")
    imported = run(path, tmp_path / "store")
    out = "has a name that leads out of the archive, so it is left out"
    assert imported.only.path == "good.png"
    assert sorted(imported.problems) == [
        f"../up.png {out}.",
        f"/etc/root.png {out}.",
        f"C:/windows.png {out}.",
        f"a/../../b.png {out}.",
        "link.png is a link in the archive; put the file itself into it.",
    ]
    assert len(files(tmp_path / "store")) == 1
    assert not (tmp_path / "up.png").exists()


def test_an_encrypted_entry_and_a_damaged_one_are_named(tmp_path: Path, data: bytes) -> None:
    other = draw(tmp_path / "other.png", 2).read_bytes()
    path = packed(tmp_path / "a.zip", {"damaged.png": data, "locked.png": other, "whole.png": other})
    content = bytearray(path.read_bytes())
    content[content.index(data) + len(data) // 2] ^= 0xFF  # its checksum is wrong now
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        second = content.index(signature, content.index(signature) + 1)
        content[second + flags] |= 1  # the flag of an encrypted entry
    path.write_bytes(content)
    imported = run(path, tmp_path / "store")
    assert [line.path for line in imported.pictures] == ["whole.png"]
    assert imported.problems == [
        "locked.png is encrypted; make an archive without a password.",
        "damaged.png is damaged in the archive; replace it or remove it from the dataset.",
    ]


def test_an_entry_that_expands_as_no_picture_does_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made, made.open("a.bmp", "w") as file:
        for _ in range(110):
            file.write(bytes(1 << 20))
    assert refused(path) == {"a.bmp": "expands to 110 MB from much less, as no picture does, so it is left out"}


def test_many_entries_that_share_their_bytes_are_refused_together(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "HARMLESS_BYTES", 1000)
    path = packed(tmp_path / "a.zip", {f"{number}.bmp": data for number in range(5)})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for number in range(5):  # each says that it has 100 times as many bytes as the archive
        start = content.index(f"{number}.bmp".encode(), directory) - 46
        content[start + 24 : start + 28] = (100 * len(content)).to_bytes(4, "little")
        content[start + 20 : start + 24] = len(content).to_bytes(4, "little")
    path.write_bytes(content)
    assert list(refused(path)) == ["2.bmp", "3.bmp", "4.bmp"]


@pytest.mark.parametrize("name", ["été.png", "写真.png"])
def test_names_without_the_flag_of_utf8_are_read_as_utf8_if_they_are(tmp_path: Path, data: bytes, name: str) -> None:
    path = packed(tmp_path / "a.zip", {name: data})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x01\x02", 9), (b"PK\x03\x04", 7)):
        content[content.index(signature) + flags] &= ~0x08  # macOS' own archives lack it
    path.write_bytes(content)
    opened, listing = archive.open_archive(path)
    opened.close()
    assert [entry.path for entry in listing.entries] == [name]


def test_entries_know_their_folder_and_name() -> None:
    def never() -> None:
        raise AssertionError

    entry = SourceFile(path="a/b/c.png", open=never)  # type: ignore[arg-type]
    assert (entry.folder, entry.name) == ("a/b", "c.png")
