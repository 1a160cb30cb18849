# SPDX-License-Identifier: Apache-2.0
"""Lists the files of a ZIP archive, and reads them without unpacking anything to the disk.

An entry whose name leads out of the archive, that is a link, or that would fill memory is refused, the others are
read: https://www.bamsoftware.com/hacks/zipbomb/ explains what is possible.
"""

import stat
import zipfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from fluxgymd.pictures.entries import MOST_BYTES, MOST_ENTRIES, Listing, SourceFile, Unlistable
from fluxgymd.pictures.files import reason
from fluxgymd.pictures.names import is_junk, repeats

UTF8_FLAG = 0x800  # APPNOTE.TXT of PKWARE, 4.4.4
ENCRYPTED_FLAG = 0x1
MOST_EXPANSION = 200
"""Deflate may reach 1032. Pictures hardly shrink, and flat uncompressed ones stay below this."""
HARMLESS_BYTES = 100 << 20
"""An entry of this size may expand as much as it likes, and so may the archive beyond it."""


def open_archive(path: Path) -> tuple[zipfile.ZipFile, Listing]:
    """The archive, which the caller closes, and its files, which can be read until then. Raises Unlistable."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, ValueError):
        raise Unlistable(f"{path} is not a complete ZIP archive; copy or download it again.") from None
    except OSError as error:
        raise Unlistable(f"{path} cannot be read: {reason(error)}.") from None
    return archive, _listing(archive, path)


def _listing(archive: zipfile.ZipFile, path: Path) -> Listing:
    infos = [info for info in archive.infolist()[:MOST_ENTRIES] if not info.is_dir()]
    allowance = MOST_EXPANSION * path.stat().st_size + HARMLESS_BYTES
    entries = []
    for info in infos:
        name = _name(info)
        if not name or any(is_junk(part) for part in name.split("/") if part not in ("", "..", ".")):
            continue
        allowance -= info.file_size
        strange = _strange(name, info)
        words = strange or _too_large(info, allowance)
        open_it = cast("partial[BinaryIO]", partial(_open, archive, info))
        entries.append(SourceFile(path=name, open=open_it, refused=words, suspicious=strange is not None))
    notes = []
    if len(archive.infolist()) > MOST_ENTRIES:
        notes.append(f"{path} contains more than {MOST_ENTRIES} files; the rest of them were not looked at.")
    return _without_top(Listing(entries=sorted(entries, key=lambda entry: entry.path), title=path.stem, notes=notes))


def _name(info: zipfile.ZipInfo) -> str:
    """The name of an entry. macOS writes UTF-8 without the flag that says so, and Windows' own tool backslashes."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG:
        with suppress(UnicodeError):  # else it is what zipfile made of it: cp437, as the format says
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def _strange(name: str, info: zipfile.ZipInfo) -> str | None:
    """Why an entry isn't an ordinary file of this archive."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or parts[0][1:2] == ":" or ".." in parts:
        return "has a name that leads out of the archive, so it is left out"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link in the archive; put the file itself into it"
    if info.flag_bits & ENCRYPTED_FLAG:
        return "is encrypted; make an archive without a password"
    return None


def _too_large(info: zipfile.ZipInfo, allowance: int) -> str | None:
    if info.file_size > MOST_BYTES:
        return f"would have {info.file_size >> 20} MB, but may have at most {MOST_BYTES >> 20}"
    expands = info.file_size > HARMLESS_BYTES and info.file_size > MOST_EXPANSION * info.compress_size
    if expands or allowance < 0:
        return f"expands to {info.file_size >> 20} MB from much less, as no picture does, so it is left out"
    return None


def _open(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info)
    except (RuntimeError, NotImplementedError) as error:  # an unknown compression
        raise zipfile.BadZipFile(str(error)) from None


def _without_top(listing: Listing) -> Listing:
    """The listing without the one folder that everything is in, if there is one: most archives hold a folder."""
    ordinary = [entry for entry in listing.entries if not entry.suspicious]
    tops = {entry.path.partition("/")[0] for entry in ordinary if "/" in entry.path}
    if len(tops) != 1 or any("/" not in entry.path for entry in ordinary):
        return listing
    (top,) = tops
    title = top if repeats(top) else listing.title
    entries = [
        entry if entry.suspicious else replace(entry, path=entry.path[len(top) + 1 :]) for entry in listing.entries
    ]
    return Listing(entries=entries, title=title, notes=listing.notes)
