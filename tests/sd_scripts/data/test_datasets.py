# SPDX-License-Identifier: Apache-2.0
"""Sizes, crops and captions equal those that sd-scripts' own code gave (48d368f), recorded once in
upstream/sd-scripts-datasets.json. Captions are drawn alike, since both programs draw from Python's generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from library.data import buckets, captions, dataset, dataset_config, images, picture_size
from library.data.buckets import BucketRules, Size
from library.data.captions import CaptionRules, Place
from library.errors import TrainerError
from library.options.arguments import parse
from library.train import preflight
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Settings, make_pictures

RECORDED: dict[str, Any] = recorded("datasets")


@pytest.mark.parametrize("recorded", RECORDED["buckets"])
def test_each_picture_gets_its_size_and_crop(recorded: dict[str, Any]) -> None:
    rules = BucketRules(**(recorded["rules"] | {"resolution": Size(*recorded["rules"]["resolution"])}))
    assert buckets.wrong(rules) is None
    if recorded["predefined"] is not None:
        assert list(buckets.predefined(rules)) == [Size(*size) for size in recorded["predefined"]]
    for size, bucket, resized, box in recorded["pictures"]:
        assert buckets.choose(Size(*size), rules) == (Size(*bucket), Size(*resized))
        assert list(buckets.crop_ltrb(Size(*bucket), Size(*size))) == box


def test_captions_are_drawn_as_expected() -> None:
    texts = set()
    for case in RECORDED["captions"]:
        place = Place(epoch=case["epoch"], step=case["step"], total_steps=10)
        drawn = captions.draw(case["caption"], CaptionRules(**case["rules"]), place, random.Random(case["seed"]))
        assert drawn == case["text"], case
        texts.add(drawn)
    assert "" in texts
    assert len(texts) > 60


def test_a_caption_may_end_up_empty() -> None:
    rules = CaptionRules(caption_prefix="a photo of", caption_suffix="outside", secondary_separator=";")
    assert captions.fixed("a cat; black", rules) == "a photo of a cat, black outside"
    assert captions.draw("a cat; black", rules, Place(epoch=1, step=0, total_steps=1), random.Random(1)) == (
        captions.fixed("a cat; black", rules)
    )


def test_shrinking_averages_areas() -> None:
    recorded = RECORDED["area"]
    made = images.by_area(numpy.array(recorded["picture"], dtype=numpy.uint8), Size(*recorded["size"]))
    expected = numpy.array(recorded["resized"], dtype=int)
    # OpenCV and NumPy round a mean that ends in .5 in different ways.
    assert numpy.abs(made.astype(int) - expected).max() <= 1
    assert (made == expected).mean() > 0.95


def test_a_photo_is_trained_the_way_people_see_it(tmp_path: Path) -> None:
    picture = Image.new("RGB", (80, 64), "red")
    picture.paste("blue", (0, 0, 40, 64))
    exif = picture.getexif()
    exif[picture_size.EXIF_ORIENTATION] = 6  # the camera was on its right side
    picture.save(tmp_path / "0.png", exif=exif)
    size, rotation = picture_size.read_size(tmp_path / "0.png")
    assert (size, rotation, picture_size.upright(size, rotation)) == (Size(80, 64), 6, Size(64, 80))
    pixels, _ = images.load_pixels(tmp_path / "0.png", bucket=Size(32, 32), resized=Size(32, 40), interpolation=None)
    assert pixels[0, :, 0, 16].tolist() == [-1, -1, 1]
    assert pixels[0, :, 31, 16].tolist() == [1, -1, -1]


def test_an_unknown_rotation_turns_nothing(tmp_path: Path) -> None:
    picture = Image.new("RGB", (80, 64))
    exif = picture.getexif()
    exif[picture_size.EXIF_ORIENTATION] = 99
    picture.save(tmp_path / "0.png", exif=exif)
    size, rotation = picture_size.read_size(tmp_path / "0.png")
    assert picture_size.upright(size, rotation) == Size(80, 64)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    """Pillow's own conversion makes every shade above 255 of 65535 white."""
    shades = numpy.array([[0, 0x40FF], [0x80FF, 0xFFFF]], dtype=numpy.uint16)
    Image.fromarray(shades.repeat(16, axis=0).repeat(16, axis=1)).save(tmp_path / "0.png")
    pixels, opacity = images.load_pixels(
        tmp_path / "0.png", bucket=Size(32, 32), resized=Size(32, 32), interpolation=None
    )
    corners = pixels[0, :, ::16, ::16]
    assert ((corners + 1) * 127.5).round().int().tolist() == [[[0, 0x40], [0x80, 0xFF]]] * 3
    assert opacity.min() == 1


def read(settings: Settings, toml: str, words: str = "") -> dataset.Dataset:
    (settings.folder / "dataset.toml").write_text(toml.format(pictures=settings.pictures))
    return preflight.check(parse(settings.plus(words).arguments())).dataset


def test_the_inner_level_takes_precedence_and_then_the_command_line(settings: Settings) -> None:
    toml = (
        "[general]\ncaption_extension = '.txt'\nkeep_tokens = 1\nnum_repeats = 2\n"
        "[[datasets]]\nresolution = 64\nkeep_tokens = 2\n"
        "[[datasets.subsets]]\nimage_dir = '{pictures}'\nkeep_tokens = 3\n"
        "[[datasets.subsets]]\nimage_dir = '{pictures}'\nflip_aug = true\n"
        "[[datasets]]\nresolution = [128, 64]\nbatch_size = 2\n[[datasets.subsets]]\nimage_dir = '{pictures}'\n"
    )
    found = read(settings, toml, "--train_batch_size 3 --keep_tokens 9 --shuffle_caption")
    first, second, third = (subset for config in found.configs for subset in config.subsets)
    assert [subset.captions.keep_tokens for subset in (first, second, third)] == [3, 2, 1]
    assert [subset.flip_aug for subset in (first, second, third)] == [False, True, False]
    assert all(subset.captions.shuffle_caption and subset.num_repeats == 2 for subset in (first, second, third))
    assert [config.batch_size for config in found.configs] == [3, 2]
    assert [config.buckets.resolution for config in found.configs] == [Size(64, 64), Size(128, 64)]
    assert found.batches_per_epoch == 4 + 3


def test_json_and_folders_mean_the_same_as_toml(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "train" / "2_sks cat"
    folder.parent.mkdir()
    settings.pictures.rename(folder)
    (tmp_path / "train" / "notes").mkdir()
    words = f"--train_data_dir {folder.parent} --resolution 64 --caption_extension .txt"
    subset = {"image_dir": str(folder), "class_tokens": "sks cat", "num_repeats": 2}
    (tmp_path / "d.json").write_text(json.dumps({"datasets": [{"resolution": 64, "subsets": [subset]}]}))
    by_folders = dataset_config.of_folders(
        folder.parent, None, defaults={"resolution": "64", "caption_extension": ".txt"}
    )
    by_json = dataset_config.read(tmp_path / "d.json", defaults={"caption_extension": ".txt"})
    assert by_json == by_folders
    assert parse(
        [*settings.models.arguments(), *f"--output_dir o --network_module networks.lora_flux {words}".split()]
    )


def test_there_are_as_many_regularisation_pictures_as_others(settings: Settings, tmp_path: Path) -> None:
    others = make_pictures(tmp_path / "others", 2)
    toml = (
        "[general]\ncaption_extension = '.txt'\n[[datasets]]\nresolution = 64\n"
        "[[datasets.subsets]]\nimage_dir = '{pictures}'\nnum_repeats = 3\n"
        f"[[datasets.subsets]]\nimage_dir = '{others}'\nnum_repeats = REPEATS\nis_reg = true\n"
    )
    for repeats, expected in ((1, [5, 4]), (5, [5, 5]), (20, [20, 0])):
        found = read(settings, toml.replace("REPEATS", str(repeats)))
        assert [picture.repeats for picture in found.pictures if picture.subset.is_reg] == expected
        assert found.repeated == 9


def long_name(pictures: Path) -> None:
    """Some face croppers name pictures this way: the last four parts are numbers."""
    (pictures / "1.png").rename(pictures / "cat_1_10_20_30_40.png")
    (pictures / "1.txt").rename(pictures / "cat_1.txt")


def several_lines(pictures: Path) -> None:
    (pictures / "1.txt").write_text(" first \n\nsecond\n")


def dos_lines(pictures: Path) -> None:
    (pictures / "1.txt").write_bytes("\ufefffirst\r\n\r\nsecond\r\n".encode())


def old_mac_lines(pictures: Path) -> None:
    (pictures / "1.txt").write_bytes(b"first\r\rsecond\r")


def other_separators(pictures: Path) -> None:
    """Python's splitlines() would split at each of them. sd-scripts reads the file line by line, where none of them
    ends a line."""
    (pictures / "1.txt").write_text("a\x0cb\u2028c\x85d\n", encoding="utf-8")


def hidden_files(pictures: Path) -> None:
    """macOS leaves such files on disks of other systems."""
    (pictures / "._1.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (pictures / "._1.txt").write_bytes(b"\0\5\x16\7\xff")
    (pictures / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


@pytest.mark.parametrize(
    ("change", "keys", "expected"),
    [
        (hidden_files, "", "a lime square"),
        (long_name, "", "a lime square"),
        (several_lines, "", "first"),
        (several_lines, "enable_wildcard = true", "first\nsecond"),
        (dos_lines, "", "first"),
        (dos_lines, "enable_wildcard = true", "first\nsecond"),
        (old_mac_lines, "enable_wildcard = true", "first\nsecond"),
        (other_separators, "", "a\x0cb\u2028c\x85d"),
    ],
)
def test_captions_are_read_from_files(
    change: Callable[[Path], None], keys: str, expected: str, settings: Settings
) -> None:
    change(settings.pictures)
    toml = f"[[datasets]]\nresolution = 64\ncaption_extension = '.txt'\n{keys}\n[[datasets.subsets]]\n"
    found = read(settings, toml + "image_dir = '{pictures}'\n")
    assert len(found.pictures) == 3
    assert expected in [picture.caption for picture in found.pictures]


def test_captions_that_change_are_not_cached(settings: Settings) -> None:
    for words in (
        "--shuffle_caption",
        "--caption_tag_dropout_rate 0.1",
        "--enable_wildcard",
        "--token_warmup_step 2",
    ):
        flag = words.split()[0]
        sentence = (
            f"{flag} makes captions change at each step, so they cannot be encoded in advance: leave it out, or "
            "leave --cache_text_encoder_outputs out"
        )
        with pytest.raises(TrainerError, match=f"^{sentence}$") as refused:
            preflight.check(parse(settings.plus(f"{words} --cache_text_encoder_outputs").arguments()))
        assert (refused.value.kind, refused.value.setting) == ("command_line", flag.removeprefix("--"))
    both = "--shuffle_caption --enable_wildcard --cache_text_encoder_outputs --cache_text_encoder_outputs_to_disk"
    with pytest.raises(TrainerError) as refused:
        preflight.check(parse(settings.plus(both).arguments()))
    assert str(refused.value) == (
        "--shuffle_caption and --enable_wildcard make captions change at each step, so they cannot be encoded in "
        "advance: leave them out, or leave --cache_text_encoder_outputs out and leave "
        "--cache_text_encoder_outputs_to_disk out"
    )
    preflight.check(parse(settings.plus("--caption_dropout_rate 0.5 --cache_text_encoder_outputs").arguments()))


def test_a_picture_below_one_step_is_refused(settings: Settings) -> None:
    toml = "[[datasets]]\nresolution = 512\nenable_bucket = true\nbucket_no_upscale = true\nbucket_reso_steps = 96\n"
    with pytest.raises(TrainerError, match=r"0\.png is smaller than bucket_reso_steps = 96"):
        read(settings, toml + "[[datasets.subsets]]\nimage_dir = '{pictures}'\n")
