# SPDX-License-Identifier: Apache-2.0
"""The size that each picture is trained at. Pure arithmetic, and equal to sd-scripts' to the pixel: a cache's arrays
are named after the size, so with different rounding each trainer would have to encode everything again.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

# Flux packs 2x2 latents of 8x8 pixels into one token; sd-scripts requires bucket_reso_steps to be a multiple of twice
# that.
PIXELS_PER_TOKEN = 16
STEPS_OF = 32


@dataclass(frozen=True, order=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, kw_only=True)
class BucketRules:
    """dataset.toml's keys about buckets. Without `enable_bucket`, every picture is trained at `resolution`."""

    resolution: Size
    enable_bucket: bool = False
    bucket_no_upscale: bool = False
    bucket_reso_steps: int = 64
    min_bucket_reso: int = 256
    max_bucket_reso: int = 1024

    @property
    def smallest_side(self) -> int:
        """`min_bucket_reso`, rounded down to the steps."""
        return self.min_bucket_reso - self.min_bucket_reso % self.bucket_reso_steps

    @property
    def largest_side(self) -> int:
        """`max_bucket_reso`, rounded up to the steps."""
        return -(-self.max_bucket_reso // self.bucket_reso_steps) * self.bucket_reso_steps


def wrong(rules: BucketRules) -> tuple[str, str] | None:
    """The first key that does not fit the others, and a sentence about it; None if all fit."""
    sides = (rules.resolution.width, rules.resolution.height)
    if not rules.enable_bucket:
        if any(side % PIXELS_PER_TOKEN for side in sides):
            return "resolution", f"without buckets, the sides of resolution must be multiples of {PIXELS_PER_TOKEN}"
        return None
    if rules.bucket_reso_steps % STEPS_OF:
        return "bucket_reso_steps", f"bucket_reso_steps must be a multiple of {STEPS_OF}"
    if not rules.bucket_no_upscale and not rules.smallest_side:
        return "min_bucket_reso", f"min_bucket_reso must be at least bucket_reso_steps ({rules.bucket_reso_steps})"
    if min(sides) < rules.smallest_side:
        return "min_bucket_reso", f"min_bucket_reso must be at most the smaller side of resolution ({min(sides)})"
    if max(sides) > rules.largest_side:
        return "max_bucket_reso", f"max_bucket_reso must be at least the larger side of resolution ({max(sides)})"
    return None


@functools.cache
def predefined(rules: BucketRules) -> tuple[Size, ...]:
    """All sizes that a picture can be trained at, sorted. With `bucket_no_upscale` there is no such list."""
    if not rules.enable_bucket:
        return (rules.resolution,)
    step, area = rules.bucket_reso_steps, rules.resolution.area
    square = int(math.sqrt(area) // step) * step
    found = {Size(square, square)}
    for side in range(rules.smallest_side, rules.largest_side + 1, step):
        other = min(rules.largest_side, area // side // step * step)
        if other >= rules.smallest_side:
            found |= {Size(side, other), Size(other, side)}
    return tuple(sorted(found))


def choose(picture: Size, rules: BucketRules) -> tuple[Size, Size]:
    """(bucket, size to resize to). The resized picture covers the bucket, and is then cropped to its middle.

    With `bucket_no_upscale`, a picture smaller than one step gets a bucket with a side of 0, which cannot be trained.
    """
    if rules.enable_bucket and rules.bucket_no_upscale:
        resized = _shrunk(picture, rules)
        step = rules.bucket_reso_steps
        return Size(resized.width - resized.width % step, resized.height - resized.height % step), resized
    aspect = picture.width / picture.height
    sizes = predefined(rules)
    bucket = picture if picture in sizes else min(sizes, key=lambda size: abs(size.width / size.height - aspect))
    wider = aspect > bucket.width / bucket.height
    scale = bucket.height / picture.height if wider else bucket.width / picture.width
    return bucket, Size(int(picture.width * scale + 0.5), int(picture.height * scale + 0.5))


def _shrunk(picture: Size, rules: BucketRules) -> Size:
    """The size to resize to under `bucket_no_upscale`: the picture's own if its area is at most the resolution's.

    Otherwise it is scaled down to about that area, with one side a multiple of the steps: the side whose rounding
    changes the aspect ratio less.
    """
    area = rules.resolution.area
    if picture.area <= area:
        return picture
    aspect = picture.width / picture.height
    width = math.sqrt(area * aspect)
    by_width = _to_steps(width, rules)
    by_width_height = _to_steps(by_width / aspect, rules)
    by_height = _to_steps(area / width, rules)
    by_height_width = _to_steps(by_height * aspect, rules)
    if not by_width_height or not by_height or not by_width:
        return Size(by_width, by_width_height)
    if abs(by_width / by_width_height - aspect) < abs(by_height_width / by_height - aspect):
        return Size(by_width, int(by_width / aspect + 0.5))
    return Size(int(by_height * aspect + 0.5), by_height)


def _to_steps(side: float, rules: BucketRules) -> int:
    rounded = int(side + 0.5)
    return rounded - rounded % rules.bucket_reso_steps


def middle(bucket: Size, resized: Size) -> tuple[int, int]:
    """(left, top) of the bucket in the resized picture, which is cropped to its middle."""
    return (resized.width - bucket.width) // 2, (resized.height - bucket.height) // 2


def crop_ltrb(bucket: Size, picture: Size) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) that the picture would have in the bucket if it were padded instead of cropped.

    sd-scripts stores this in its caches; nothing reads it in a Flux training.
    """
    aspect = picture.width / picture.height
    if bucket.width / bucket.height > aspect:
        width, height = bucket.height * aspect, float(bucket.height)
    else:
        width, height = float(bucket.width), bucket.width / aspect
    left, top = (bucket.width - width) // 2, (bucket.height - height) // 2
    return left, top, left + width, top + height
