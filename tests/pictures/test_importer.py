# SPDX-License-Identifier: Apache-2.0
"""Tests of the importer as a program: what it stores, what it reports, and what it leaves after a kill."""

import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.failpoints import VARIABLE
from fluxgymd.pictures.lines import ImportedPicture, Wishes
from tests.crash import names
from tests.harness.rights import WITHOUT_ROOTS_RIGHTS
from tests.pictures.drawing import BAD, draw, draw_many, picture
from tests.pictures.importing import check, end, files, run, start, state
from tests.store.small_disk import fill, small_disk


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "my pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "datasets" / ".store"


def test_of_1000_pictures_exactly_the_20_bad_ones_are_named_and_a_second_import_adds_none(
    source: Path, store: Path
) -> None:
    assert len(BAD) == 20
    draw_many(source, 1000)
    for make, _ in BAD.values():
        make(source)
    before = state(source)

    first = run(source, store)
    with_bad_captions = [name for name in BAD if name.endswith(".txt")]
    assert sorted(first.problems) == sorted(f"{name} {words}." for name, (_, words) in BAD.items())
    assert first.done.pictures == 1000 + len(with_bad_captions)
    assert (first.duplicates, first.notes) == ([], [])
    assert [line.path for line in first.pictures] == sorted(line.path for line in first.pictures)
    ours = [line for line in first.pictures if line.path[0].isdigit()]
    assert [line.caption for line in ours] == [f"a picture of {number}" for number in range(1000)]
    assert [line.name for line in ours] == [line.path for line in ours]
    assert all(line.source == line.sha256 and not line.notes for line in ours)

    held = files(store)
    second = run(source, store, Wishes(known=tuple(line.source for line in first.pictures)))
    assert (second.done.pictures, second.done.duplicates) == (0, first.done.pictures)
    assert sorted(second.problems) == sorted(line for line in first.problems if ".txt" not in line)
    assert files(store) == held
    assert state(source) == before


def test_the_formats_that_a_trainer_does_not_read_are_converted(source: Path, store: Path) -> None:
    import pillow_heif

    for ending in ("avif", "gif", "tiff", "webp", "bmp", "jpg", "png"):
        draw(source / f"{ending}.{ending}", len(ending), (100, 50))
    pillow_heif.from_pillow(picture(3, (100, 50))).save(source / "phone.HEIC")
    imported = {line.path: line for line in run(source, store).pictures}
    assert {path: line.name for path, line in imported.items()} == {
        "avif.avif": "avif.jpg",
        "bmp.bmp": "bmp.bmp",
        "gif.gif": "gif.png",
        "jpg.jpg": "jpg.jpg",
        "phone.HEIC": "phone.jpg",
        "png.png": "png.png",
        "tiff.tiff": "tiff.png",
        "webp.webp": "webp.webp",
    }
    assert imported["phone.HEIC"].notes == ("It was converted from HEIC to JPEG.",)
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}
    for line in imported.values():
        file = store / line.sha256[:2] / (line.sha256 + Path(line.name).suffix)
        with Image.open(file) as stored:
            assert stored.format == formats[file.suffix]
            assert stored.size == (line.width, line.height) == (100, 50)
        assert line.size == file.stat().st_size


def test_pictures_with_one_content_are_stored_once_and_reported(source: Path, store: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw(source / name, 1)
    (source / "a.txt").write_text("one")
    (source / "b.txt").write_text("two")
    imported = run(source, store)
    assert imported.only.caption == "one"
    assert imported.duplicates == [("b.png", "a.png"), ("c.png", "a.png")]
    assert imported.notes == ["b.png is the same picture as a.png, whose caption is kept; its own is not."]


def test_what_systems_leave_in_folders_is_ignored_and_names_of_any_kind_are_kept(source: Path, store: Path) -> None:
    decomposed, composed = "e\u0301te\u0301", "\u00e9t\u00e9"
    odd = {
        "写真 猫.jpg": "a cat",
        f"{decomposed}.png": "summer",
        "o'keeffe's \"flower\".webp": "in O'Keeffe's style",
        "line\nbreak.png": "two lines",
        "Cat.png": "upper",
        "cat.png": "lower",
        os.fsdecode(b"caf\xe9.png"): "not UTF-8",
    }
    for seed, (name, caption) in enumerate(odd.items()):
        draw(source / name, seed)
        stem = composed if name.startswith(decomposed) else name.rpartition(".")[0]
        (source / f"{stem}.txt").write_text(caption)
    for name in ("._x.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png", "@eaDir/SYNOPHOTO.jpg"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"\0\5\x16\7")
    imported = run(source, store)
    assert (imported.problems, imported.notes) == ([], [])
    assert {line.name: line.caption for line in imported.pictures} == {
        "写真 猫.jpg": "a cat",
        f"{composed}.png": "summer",
        "o'keeffe's \"flower\".webp": "in O'Keeffe's style",
        "line_break.png": "two lines",
        "Cat.png": "upper",
        "cat-2.png": "lower",
        "caf\ufffd.png": "not UTF-8",
    }
    (renamed,) = [line for line in imported.pictures if line.name == "cat-2.png"]
    assert renamed.notes == ("It is called cat-2 here, since another picture is called cat.",)


def test_kohyas_folders_give_repeats_and_class_and_other_subfolders_are_taken_on_request(
    source: Path, store: Path
) -> None:
    draw(source / "10_s1gn sign" / "a.png", 1)
    draw(source / "3_o'brien" / "a.png", 2)
    draw(source / "more" / "deep" / "b.png", 3)
    imported = run(source, store)
    assert [(line.path, line.name, line.repeats, line.class_tokens) for line in imported.pictures] == [
        ("10_s1gn sign/a.png", "a.png", 10, "s1gn sign"),
        ("3_o'brien/a.png", "a-2.png", 3, "o'brien"),
    ]
    assert imported.notes == [
        "1 picture in a subfolder is left out (more/deep/b.png); ask for subfolders to import them too."
    ]
    everything = run(source, store, Wishes(subfolders=True))
    assert [line.path for line in everything.pictures][2:] == ["more/deep/b.png"]
    assert everything.notes == []
    (itself,) = run(source / "3_o'brien", store).pictures
    assert (itself.repeats, itself.class_tokens) == (3, "o'brien")


def test_a_mask_beside_a_picture_belongs_to_it(source: Path, store: Path) -> None:
    for name in ("a", "b", "c"):
        draw(source / f"{name}.jpg", ord(name))
    half = Image.new("L", (96, 64), 255)
    half.paste(0, (0, 0, 48, 64))
    half.save(source / "a_mask.png")
    half.resize((60, 60)).save(source / "b_mask.png")
    draw(source / "face_mask.png", 9)  # a picture: there is no face
    imported = run(source, store)
    assert [line.name for line in imported.pictures] == ["a.jpg", "b.jpg", "c.jpg", "face_mask.png"]
    assert [line.mask is not None for line in imported.pictures] == [True, False, False, False]
    assert imported.problems == [
        (
            "b_mask.png has 60 x 60 pixels, but its picture has 96 x 64; make it the same size. Its picture was "
            "imported without this mask."
        )
    ]
    mask = imported.pictures[0].mask
    assert mask is not None
    with Image.open(store / mask[:2] / f"{mask}.png") as stored:
        assert stored.tobytes() == half.tobytes()


def test_links_within_the_folder_are_followed_but_none_that_lead_out(
    source: Path, store: Path, tmp_path: Path
) -> None:
    draw(source / "a.png", 1)
    private = draw(tmp_path / "private" / "b.png", 2)
    (source / "same.png").symlink_to("a.png")
    (source / "out.png").symlink_to(private)
    (source / "10_out").symlink_to(tmp_path / "private")
    (source / "circle").symlink_to(".")
    imported = run(source, store, Wishes(subfolders=True))
    assert imported.only.path == "a.png"
    assert imported.duplicates == [("same.png", "a.png")]
    assert imported.problems == [
        f"10_out/ is a link to the folder {tmp_path}/private; links are not followed.",
        "circle/ is a link to the folder .; links are not followed.",
        f"out.png is a link to {private}, which is outside of the folder; copy the file itself into it.",
    ]


def test_a_pipe_is_not_waited_for_and_a_file_without_permission_is_named(source: Path, store: Path) -> None:
    draw(source / "a.png", 1)
    draw(source / "closed.png", 2).chmod(0)
    os.mkfifo(source / "pipe.png")
    store.parent.mkdir()
    imported = run(source, store, before=WITHOUT_ROOTS_RIGHTS)
    assert imported.only.path == "a.png"
    assert imported.problems == [
        "pipe.png is not a file.",
        "closed.png cannot be read: permission denied; make it readable for your user.",
    ]


def test_one_picture_is_imported_with_what_is_beside_it(source: Path, store: Path) -> None:
    draw(source / "a.png", 1)
    draw(source / "b.png", 2)
    (source / "b.txt").write_text("b")
    imported = run(source / "b.png", store)
    assert (imported.only.path, imported.only.caption) == ("b.png", "b")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "{} does not exist; give a folder, a picture or a ZIP archive."),
        ("empty", "{} contains no pictures ("),
        ("torn.zip", "{} is not a complete ZIP archive; copy or download it again."),
    ],
)
def test_a_source_that_cannot_be_imported_gets_one_sentence(
    source: Path, store: Path, name: str, sentence: str
) -> None:
    (source / "empty").mkdir()
    (source / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    imported = run(source / name, store)
    assert len(imported.lines) == 1
    assert imported.failed.sentence.startswith(sentence.format(source / name))
    assert not imported.failed.storage


def test_a_full_disk_ends_the_import_with_one_sentence_and_leaves_no_half_of_a_file(
    source: Path, tmp_path: Path
) -> None:
    for seed in range(40):
        draw(source / f"{seed:02}.bmp", seed)
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, pages=64) as disk:
        imported = run(source, disk / "store")
        assert 0 < len(imported.pictures) < 40
        assert imported.failed.storage
        assert imported.failed.sentence == (
            f"The store of pictures, {disk / 'store'}, cannot be written to: no space left on device; make room and "
            "import again."
        )
        held = files(disk / "store")
        fill(disk)
        again = run(source, disk / "store")
        assert files(disk / "store") == held
        assert again.failed.storage


def test_importers_at_the_same_time_do_not_disturb_each_other(source: Path, store: Path) -> None:
    draw_many(source, 60)
    both = [start(source, store), start(source, store)]
    first, second = map(end, both)
    assert first.lines == second.lines
    assert first.done.pictures == 60
    check(store, first)


FAILPOINTS = names.names(names.IMPORT)


def test_each_failpoint_of_an_import_is_met() -> None:
    assert len(FAILPOINTS) >= 5


@pytest.mark.parametrize("point", FAILPOINTS)
def test_a_kill_at_any_point_leaves_the_originals_and_a_store_that_the_next_import_completes(
    source: Path, store: Path, point: str
) -> None:
    draw_many(source, 12)
    draw(source / "turned.gif", 99)
    before = state(source)
    if point == "import.leftover_removed":
        killed = end(start(source, store, env={VARIABLE: "import.file_written=kill:4"}))
        assert killed.status == -signal.SIGKILL
        assert any(store.glob(".incoming-*/*"))
    # The third time where it is passed more than once.
    rule = "kill" if point in ("import.folder_made", "import.leftover_removed") else "kill:3"
    killed = end(start(source, store, env={VARIABLE: f"{point}={rule}"}))
    assert killed.status == -signal.SIGKILL, f"{point} was never met"
    printed = [line for line in killed.lines if isinstance(line, ImportedPicture)]
    for line in printed:
        assert (store / line.sha256[:2] / (line.sha256 + Path(line.name).suffix)).stat().st_size == line.size
    imported = run(source, store)
    assert imported.done.pictures == 13
    assert state(source) == before
