# SPDX-License-Identifier: Apache-2.0
"""The pictures that jobs use from users' folders: each is stored once, read-only, named by the SHA-256 of its bytes.

They are next to the jobs (Home.shared_pictures). Each job that uses one has a hard link to it, so a file with a
single link is no longer in any job. Nothing is linked to a user's own file, which somebody may edit. The functions
block. `shared`: the folder with these pictures, which need not exist.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fluxgymd.failpoints import failpoint
from fluxgymd.store.pictures import FILE, file_in


def link(source: Path, target: Path, shared: Path) -> bool:
    """Links the shared picture with the bytes of `source` into a job. False if there is none, or it cannot be linked;
    then `target` does not exist. A shared file whose bytes have changed loses its shared name, but other jobs keep it
    as it is."""
    with suppress(OSError):
        wanted = _sha256(source)
        file = _file(shared, wanted, source)
        os.link(file, target)
        with suppress(OSError):
            if _sha256(target) == wanted:
                return True
        target.unlink()
        file.unlink()
    return False


def share(copy: Path, source: Path, shared: Path) -> None:
    """Shares a job's own, durable copy of `source`, and makes it read-only. If the picture has been shared in the
    meantime, the copy becomes a link to that. Where links are impossible, the copy stays."""
    with suppress(OSError):
        found = source.stat()
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))  # its stamp
        copy.chmod(0o444)
        file = _file(shared, _sha256(copy), source)
        for folder in (shared, file.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            os.link(copy, file)
        except FileExistsError:  # a picture with another name, or another job submitted at the same time
            temporary = copy.with_name(f".{file.stem}.new")
            os.link(file, temporary)
            temporary.replace(copy)
        failpoint("pictures.shared")


def sweep(shared: Path) -> int:
    """Deletes the pictures that no job uses, and then empty folders. Returns how many were deleted. A job that is
    getting such a picture at this moment either has its link already or makes a copy."""
    count = 0
    for path, found in list(_files(shared)):
        if found.st_nlink == 1:
            with suppress(OSError):
                os.unlink(path)
                failpoint("pictures.swept")
                count += 1
    for folder, _, _ in os.walk(shared, topdown=False):
        with suppress(OSError):  # not empty
            os.rmdir(folder)
    return count


def stamps(shared: Path) -> set[tuple[int, int]]:
    """The stamps of the files that the shared pictures were copied from. They show, without reading it, that a user's
    picture is probably shared already."""
    return {stamp(found) for _, found in _files(shared)}


def stamp(found: os.stat_result) -> tuple[int, int]:
    """The size of a file, and when it was last changed, in nanoseconds."""
    return found.st_size, found.st_mtime_ns


def _file(shared: Path, sha256: str, picture: Path) -> Path:
    return file_in(shared, sha256, picture.suffix.lower())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(shared: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, _, names in os.walk(shared):
        for name in names:
            path = os.path.join(folder, name)
            with suppress(OSError):
                if FILE.fullmatch(name):
                    yield path, os.lstat(path)
