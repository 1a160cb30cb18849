# SPDX-License-Identifier: Apache-2.0
"""Pictures for tests: small, each different from the others, and quickly made."""

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Soft blots of colour."""
    blots = Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(192))
    return blots.resize(size)


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
    """Writes a picture in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    return path


def draw_many(folder: Path, count: int) -> None:
    """Pictures with captions, in several formats."""
    for number in range(count):
        draw(folder / f"{number:04}.{('jpg', 'png', 'webp', 'bmp')[number % 4]}", number, (48, 32))
        (folder / f"{number:04}.txt").write_text(f"a picture of {number}")


def bomb() -> bytes:
    """The beginning of a PNG of 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, body)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _torn(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        data = draw(folder / name, 1, (200, 200)).read_bytes()
        (folder / name).write_bytes(data[: len(data) * 2 // 3])

    return make


def _holds(name: str, data: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return make


def _eps(folder: Path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "bad program.png", format="EPS")


def _invisible(folder: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(folder / "bad invisible.png")


def _link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def _caption(data: bytes, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        draw(folder / f"{name}.png", 5000 + len(name))
        (folder / f"{name}.txt").write_bytes(data)

    return make


INSTEAD = "replace it or remove it from the dataset"
WITHOUT = "Its picture was imported without a caption"

BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "bad empty.jpg": (_holds("bad empty.jpg", b""), f"is empty; {INSTEAD}"),
    "bad zeros.png": (_holds("bad zeros.png", bytes(500)), f"is filled with zeros, as after a crash; {INSTEAD}"),
    "bad torn.jpg": (_torn("bad torn.jpg"), f"is damaged: its data is truncated or invalid; {INSTEAD}"),
    "bad torn.png": (_torn("bad torn.png"), f"is damaged: its data is truncated or invalid; {INSTEAD}"),
    "bad torn.webp": (_torn("bad torn.webp"), f"is damaged: its data is truncated or invalid; {INSTEAD}"),
    "bad torn.avif": (_torn("bad torn.avif"), f"is damaged: its data is truncated or invalid; {INSTEAD}"),
    "bad torn.bmp": (_torn("bad torn.bmp"), f"is damaged: its data is truncated or invalid; {INSTEAD}"),
    "bad header.heic": (
        _holds("bad header.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        f"is damaged: its data is truncated or invalid; {INSTEAD}",
    ),
    "bad page.jpg": (_holds("bad page.jpg", b"<!DOCTYPE html><html>"), "is a web page; download the picture itself"),
    "bad text.png": (_holds("bad text.png", b"not a picture"), f"is not a picture; {INSTEAD}"),
    "bad pointer.png": (
        _holds("bad pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
        "is a Git LFS pointer to a picture; fetch the picture with `git lfs pull`",
    ),
    "bad video.heif": (
        _holds("bad video.heif", b"\0\0\0\x18ftypisom\0\0\0\0isom"),
        "is a video or a camera's raw file; convert it to PNG or JPEG",
    ),
    "bad bomb.png": (
        _holds("bad bomb.png", bomb()),
        "has 900 megapixels (30000 x 30000), but may have at most 200; scale it down",
    ),
    "bad program.png": (_eps, "has the unsupported format EPS; convert it to PNG or JPEG"),
    "bad invisible.png": (_invisible, "is entirely transparent; remove it, or make its colours visible"),
    "bad raw.CR2": (
        _holds("bad raw.CR2", b"II*\0"),
        "has a format that FluxGym does not import (.cr2); convert it to PNG or JPEG",
    ),
    "bad link.jpg": (
        _link("bad link.jpg", "/etc/hostname"),
        "is a link to /etc/hostname, which is outside of the folder; copy the file itself into it",
    ),
    "bad dangling.jpg": (
        _link("bad dangling.jpg", "nowhere"),
        "is a link to nowhere, which does not exist",
    ),
    "caption.txt": (
        _caption("日本".encode("euc_jp"), "caption"),
        f"has an encoding that cannot be told with certainty; save it as UTF-8. {WITHOUT}",
    ),
    "binary caption.txt": (
        _caption(b"a\0b", "binary caption"),
        f"is not a text; replace it or delete it. {WITHOUT}",
    ),
}
"""Bad files by their names: what makes each, and what the importer says of it after its name."""
