# SPDX-License-Identifier: Apache-2.0
"""What the owner of a dataset may want to correct. Nothing here changes or removes anything."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from fluxgym.protocol.dataset_messages import Finding, FindingKind
from fluxgymd.core.datasets.dataset import Dataset, Picture

HASH_BITS = 128
NEAR_BITS = 7
"""Pictures whose difference hashes differ in at most this many bits look alike: the same photo scaled, compressed or
slightly cropped."""
SEGMENTS = NEAR_BITS + 1
"""A hash is cut into so many parts: if two hashes differ in NEAR_BITS bits, one of the parts is the same in both. So
only pictures that share a part are compared, instead of all pairs."""
BLURRED = 100.0
"""A lower variance of the Laplacian means a blurred picture (pictures/lines.py)."""
MOST_LISTED = 5


def findings(dataset: Dataset, *, resolution: int) -> list[Finding]:
    """All findings about the pictures that are used. `resolution`: of the training, in pixels."""
    used = dataset.used
    return [*_alike(used), *_blurred(used), *_small(used, resolution), *_without_caption(used), *_same_caption(used)]


def _alike(pictures: Sequence[Picture]) -> Iterable[Finding]:
    hashes = [(picture.name, int(picture.stored.difference_hash, 16)) for picture in pictures if _hashed(picture)]
    for group in _groups(hashes):
        yield Finding(
            kind=FindingKind.NEAR_DUPLICATES,
            pictures=group,
            text=f"{_listed(group)} look alike; if they are the same picture, use only one of them.",
        )


def _hashed(picture: Picture) -> bool:
    text = picture.stored.difference_hash
    return len(text) == HASH_BITS // 4 and set(text) <= set("0123456789abcdef")


def _groups(hashes: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Groups of at least two names, in which each is near another one (union-find)."""
    leader = {name: name for name, _ in hashes}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    width = HASH_BITS // SEGMENTS
    for segment in range(SEGMENTS):
        sharing: defaultdict[int, dict[int, str]] = defaultdict(dict)
        for name, value in hashes:
            others = sharing[value >> (segment * width) & ((1 << width) - 1)]
            for other, its_name in others.items():
                if (value ^ other).bit_count() <= NEAR_BITS:
                    leader[find(name)] = find(its_name)
            others[value] = name
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, _ in hashes:
        groups[find(name)].append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _blurred(pictures: Iterable[Picture]) -> Iterable[Finding]:
    for picture in pictures:
        if 0 < picture.stored.sharpness < BLURRED:
            text = f"{picture.name} has no sharp edges; the LoRA would learn the blur."
            yield Finding(kind=FindingKind.BLURRED, pictures=[picture.name], text=text)


def _small(pictures: Iterable[Picture], resolution: int) -> Iterable[Finding]:
    for picture in pictures:
        crop = picture.crop
        width, height = (crop.width, crop.height) if crop else (picture.stored.width, picture.stored.height)
        if width * height < resolution * resolution:
            yield Finding(
                kind=FindingKind.SMALL,
                pictures=[picture.name],
                text=f"{picture.name} has {width} x {height} pixels, and would be enlarged for a training at "
                f"{resolution}.",
            )


def _without_caption(pictures: Sequence[Picture]) -> Iterable[Finding]:
    without = [picture.name for picture in pictures if not picture.caption]
    if without and len(without) < len(pictures):
        has = "has" if len(without) == 1 else "have"
        text = f"{_listed(without)} {has} no caption, and the other pictures have one."
        yield Finding(kind=FindingKind.NO_CAPTION, pictures=without, text=text)


def _same_caption(pictures: Iterable[Picture]) -> Iterable[Finding]:
    by_caption: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        if picture.caption:
            by_caption[picture.caption.casefold()].append(picture.name)
    for names in by_caption.values():
        if len(names) > 1:
            text = f"{_listed(names)} have the same caption."
            yield Finding(kind=FindingKind.SAME_CAPTION, pictures=names, text=text)


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_LISTED:
        return f"{', '.join(names[:MOST_LISTED])} and {len(names) - MOST_LISTED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
