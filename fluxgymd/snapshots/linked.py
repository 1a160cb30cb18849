# SPDX-License-Identifier: Apache-2.0
"""Builds a job's pictures and captions from the store, without copying what can be shared.

A picture is a reflink where the file system has them, else a hard link, else a copy. A hard link is to the store and
never to a user's file, which somebody may edit; the store's files never change and are read-only. A picture with a
crop or a mask is cut into a new file. Captions are new files.

It runs as a separate program, `python -P -m fluxgymd.snapshots.linked TARGET`, which reads an Order as JSON from
stdin and prints a Snapshot: a picture that makes a decoder crash does so in this process, not in the daemon.
"""

import errno
import fcntl
import os
import sys
from pathlib import Path

import msgspec

from fluxgymd.pictures.cut import ENDING, cut
from fluxgymd.pictures.reading import Unreadable
from fluxgymd.snapshots import captions, contents
from fluxgymd.snapshots.captions import Captions
from fluxgymd.snapshots.snapshot import Snapshot, copy, printed

FICLONE = 0x40049409
"""linux/fs.h: makes a file share the blocks of another one until one of them is written to (ioctl_ficlone(2))."""
NOT_LINKED = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES})
"""The errors of link(2) on another file system, on one without hard links, or after too many of them."""


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One picture of a dataset."""

    name: str
    source: str
    """The file in the store."""
    caption: str | None = None
    box: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of its crop."""
    mask: str | None = None
    """The file of its mask in the store."""


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a job is to get."""

    items: tuple[Item, ...]
    captions: Captions
    links: bool = True
    """Whether files may be shared. A trainer that may write to its pictures gets copies."""


def build(order: Order, target: Path) -> Snapshot:
    """Builds the folder; its files are durable. After ValueError, Unreadable or OSError, it may be in any state."""
    target.mkdir(mode=0o700)
    how = order.captions
    names = []
    size = without_caption = 0
    for item in order.items:
        size += _place(item, target / _name(item), links=order.links)
        names.append(_name(item))
        text = captions.written(item.caption, how)
        if text:
            path = target / (Path(item.name).stem + how.ending)
            size += copy(path, path, f"{text}\n".encode())
        else:
            without_caption += 1
    return Snapshot(pictures=len(names), names=contents.hash_of(names), without_caption=without_caption, size=size)


def _name(item: Item) -> str:
    return item.name if item.box is None and item.mask is None else Path(item.name).stem + ENDING


def _place(item: Item, target: Path, *, links: bool) -> int:
    """Places one picture, and returns how many bytes of the disk it takes."""
    source = Path(item.source)
    if item.box is not None or item.mask is not None:
        cut(source, target, box=item.box, mask=None if item.mask is None else Path(item.mask))
        return target.stat().st_size
    if links and (_cloned(source, target) or _linked(source, target)):
        return 0
    return copy(source, target)


def _cloned(source: Path, target: Path) -> bool:
    """Makes a reflink. False if that is impossible here; then there is no target."""
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer, FICLONE, reader.fileno())
        except OSError:
            target.unlink()
            return False
        os.fsync(writer.fileno())
    return True


def _linked(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in NOT_LINKED:
            return False
        raise
    return True


def main() -> None:
    target = Path(sys.argv[1])
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    printed(lambda: _built(order, target), target)


def _built(order: Order, target: Path) -> Snapshot:
    try:
        return build(order, target)
    except Unreadable as error:
        raise contents.Unfit(target, f"A picture in the store {error}.") from None
    except ValueError as error:
        raise contents.Unfit(target, str(error)) from None
    except FileNotFoundError as error:
        sources = {path for item in order.items for path in (item.source, item.mask)}
        if error.filename not in sources:
            raise
        lost = error.filename
        raise contents.Unfit(
            Path(lost), f"{lost} is missing in the store of pictures; put it back, or add its picture again."
        ) from None


if __name__ == "__main__":
    main()
