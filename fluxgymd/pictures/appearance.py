# SPDX-License-Identifier: Apache-2.0
"""Measures how a picture looks: a hash that is near that of a similar picture, and how sharp it is."""

import dhash
from PIL import Image, ImageFilter, ImageStat

SIDE = 512
"""Sharpness depends on the size, so it is measured on a picture whose longer side has at most this many pixels."""
STEP = 4
"""The filter's result is divided by this, so that a hard edge (up to 510) fits into a byte around 128."""
LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=STEP, offset=128)


def difference_hash(grey: Image.Image) -> str:
    """dhash's 128 bits in hex: whether each of 8 x 8 places is darker than its neighbours to the right and below."""
    side = 9
    shades = list(grey.resize((side, side), Image.Resampling.LANCZOS).tobytes())
    row, column = dhash.dhash_row_col(shades)
    return str(dhash.format_hex(row, column))


def sharpness(grey: Image.Image) -> float:
    """The variance of the Laplacian: LAPV in Pertuz et al., Analysis of focus measure operators (Pattern
    Recognition 46, 2013)."""
    small = grey.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    if min(small.size) < 3:
        return 0.0
    edges = small.filter(LAPLACIAN).crop((1, 1, small.width - 1, small.height - 1))  # the filter skips the border
    return float(ImageStat.Stat(edges).var[0]) * STEP * STEP
