# SPDX-License-Identifier: Apache-2.0
"""Makes a small JPEG of a picture, upright and in sRGB: `python -P -m fluxgymd.pictures.thumbnail PICTURE JPEG SIDE`.

Prints nothing, or one sentence on stderr with status 1. JPEG is replaced in one step; no half of it is ever seen.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from PIL import Image

from fluxgymd.pictures import colours, new_files, reading
from fluxgymd.pictures.files import printable, reason

QUALITY = 85


def thumbnail(source: Path, target: Path, *, side: int) -> None:
    """`side`: the most pixels of the longer side; a smaller picture keeps its size. Raises Unreadable or OSError."""
    with source.open("rb") as file, reading.open_picture(file) as image:
        image.draft(None, (side, side))  # JPEG decodes an eighth of the pixels much faster
        reading.decode(image)
        if image.mode in ("RGB", "L"):
            image.thumbnail((side, side), Image.Resampling.LANCZOS)  # so that only few pixels are converted
        seen = colours.as_seen(image).image
    seen.thumbnail((side, side), Image.Resampling.LANCZOS)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        new_files.write_new(temporary, new_files.jpeg(seen, quality=QUALITY))
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def main() -> None:
    source, target, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    try:
        thumbnail(source, target, side=side)
    except reading.Unreadable as error:
        sys.exit(printable(f"The picture {source} {error}."))
    except OSError as error:
        where = source if error.filename == str(source) else target
        sys.exit(printable(f"No thumbnail of {source} could be made: {where}: {reason(error)}."))


if __name__ == "__main__":
    main()
