# SPDX-License-Identifier: Apache-2.0
"""The final file of a training: there, whole, and made by this attempt and not by an earlier one."""

from pathlib import Path

from fluxgymd.core.events import FileStamp
from fluxgymd.store import safetensors_header


def stamp(path: Path) -> FileStamp | None:
    """What identifies this version of the file; None if there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return FileStamp(inode=facts.st_ino, size=facts.st_size, modified_ns=facts.st_mtime_ns)


def problem(path: Path, before: FileStamp | None) -> str | None:
    """Why the file is not the result; None if it is. `before`: the stamp from before the attempt."""
    now = stamp(path)
    if now is None:
        return f"its final file {path.name} is missing"
    if now == before:
        return f"{path.name} is the file of an earlier attempt"
    wrong = safetensors_header.problem(path)
    return f"its final file is torn: {wrong}" if wrong else None
