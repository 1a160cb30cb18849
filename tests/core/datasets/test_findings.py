# SPDX-License-Identifier: Apache-2.0
"""What a dataset's owner may want to correct."""

from random import Random

from fluxgym.protocol.dataset_messages import Crop, FindingKind
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import fold
from fluxgymd.core.datasets.findings import HASH_BITS, MOST_LISTED, NEAR_BITS, findings
from tests.core.datasets.histories import created, edited, stored


def found(
    *pictures: e.StoredPicture, edits: tuple[e.Edited, ...] = (), resolution: int = 512
) -> list[tuple[str, list[str]]]:
    dataset = fold([created(), e.Added(at=2.0, pictures=pictures), *edits])
    return [(str(one.kind), one.pictures) for one in findings(dataset, resolution=resolution)]


def flipped(value: int, bits: int, choice: Random) -> int:
    for bit in choice.sample(range(HASH_BITS), bits):
        value ^= 1 << bit
    return value


def test_near_duplicates_are_found_wherever_their_hashes_differ() -> None:
    choice = Random(7)
    for _ in range(50):
        value = choice.getrandbits(HASH_BITS)
        near, far = (flipped(value, bits, choice) for bits in (NEAR_BITS, NEAR_BITS + 1))
        for other, expected in ((near, [(FindingKind.NEAR_DUPLICATES, ["a.png", "b.png"])]), (far, [])):
            pair = [
                stored(name, difference_hash=f"{number:032x}", width=2000)
                for name, number in (("a.png", value), ("b.png", other))
            ]
            assert found(*pair) == expected


def test_near_duplicates_of_one_another_are_one_group() -> None:
    hashes = {"a.png": 0, "b.png": 0b111, "c.png": 0b111_111_111, "d.png": 1 << 127, "e.png": 0, "f.png": 2**128 - 1}
    pictures = [stored(name, difference_hash=f"{value:032x}", width=2000) for name, value in hashes.items()]
    assert found(*pictures) == [("near_duplicates", ["a.png", "b.png", "c.png", "d.png", "e.png"])]


def test_a_long_list_of_pictures_is_cut_short_in_the_text_only() -> None:
    pictures = tuple(stored(f"{number}.png", width=2000, caption="X") for number in range(MOST_LISTED + 2))
    (same,) = findings(fold([created(), e.Added(at=2.0, pictures=pictures)]), resolution=512)
    assert len(same.pictures) == MOST_LISTED + 2
    assert same.text == "0.png, 1.png, 2.png, 3.png, 4.png and 2 more have the same caption."


def test_blurred_and_small_pictures() -> None:
    pictures = [stored("a.png", sharpness=20.0, width=1000, height=1000), stored("b.png", sharpness=500.0)]
    assert found(*pictures, resolution=768) == [("blurred", ["a.png"]), ("small", ["b.png"])]
    crop = edited("a.png", crop=Crop(left=0, top=0, width=100, height=900))
    assert ("small", ["a.png"]) in found(*pictures, edits=(crop,))


def test_captions_that_are_missing_or_equal() -> None:
    pictures = [stored("a.png", width=2000, caption="X"), stored("b.png", width=2000), stored("c.png", width=2000)]
    assert found(*pictures) == [("no_caption", ["b.png", "c.png"])]
    assert found(*pictures, edits=(edited("b.png", caption="x"), edited("c.png", used=False))) == [
        ("same_caption", ["a.png", "b.png"])
    ]
    assert found(*pictures[1:]) == []  # a dataset without captions is trained with the trigger word
