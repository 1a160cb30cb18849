# SPDX-License-Identifier: Apache-2.0
"""Runs the importer as the daemon does, as a program, and reads its lines."""

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgymd.background.helpers import DIRECTORY, command, tied
from fluxgymd.pictures.lines import (
    AnyLine,
    Done,
    Duplicate,
    ImportedPicture,
    ImportFailed,
    Note,
    RejectedFile,
    Wishes,
)
from fluxgymd.requests.copying import LIMITS
from tests.harness.waiting import DEADLINE_SECONDS

DEFAULT = Wishes()
_decoder = msgspec.json.Decoder(AnyLine)


@dataclass(frozen=True)
class Imported:
    """The lines of an import, in their order and by their kinds."""

    lines: list[AnyLine]
    status: int
    errors: str

    @property
    def pictures(self) -> list[ImportedPicture]:
        return [line for line in self.lines if isinstance(line, ImportedPicture)]

    @property
    def problems(self) -> list[str]:
        return [line.sentence for line in self.lines if isinstance(line, RejectedFile)]

    @property
    def duplicates(self) -> list[tuple[str, str | None]]:
        return [(line.path, line.of) for line in self.lines if isinstance(line, Duplicate)]

    @property
    def notes(self) -> list[str]:
        return [line.sentence for line in self.lines if isinstance(line, Note)]

    @property
    def done(self) -> Done:
        assert isinstance(self.lines[-1], Done), self
        return self.lines[-1]

    @property
    def failed(self) -> ImportFailed:
        assert isinstance(self.lines[-1], ImportFailed), self
        return self.lines[-1]

    @property
    def only(self) -> ImportedPicture:
        (picture,) = self.pictures
        return picture


def start(
    source: Path, store: Path, wishes: Wishes = DEFAULT, *, env: Mapping[str, str] = {}, before: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Starts an import, and gives it its wishes."""
    process = subprocess.Popen(
        [*before, *tied(command("fluxgymd.pictures.importer", str(source), str(store)), LIMITS)],
        cwd=DIRECTORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error", **env},
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(wishes))
    process.stdin.close()
    process.stdin = None
    return process


def end(process: subprocess.Popen[bytes]) -> Imported:
    with process:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    return Imported([_decoder.decode(line) for line in output.splitlines()], process.returncode, errors.decode())


def run(
    source: Path, store: Path, wishes: Wishes = DEFAULT, *, env: Mapping[str, str] = {}, before: Sequence[str] = ()
) -> Imported:
    """Imports to the end, which has to be an ordinary one."""
    imported = end(start(source, store, wishes, env=env, before=before))
    assert imported.errors == ""
    assert imported.status == (0 if isinstance(imported.lines[-1], Done) else 1)
    check(store, imported)
    return imported


def check(store: Path, imported: Imported) -> None:
    """Each file of the store has the bytes that its name says, is read-only, and all that was printed is there."""
    there = files(store)
    assert [name for name in there if name.startswith(".")] == []
    for path in (path for path in store.rglob("*") if path.is_file()):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        assert path.stat().st_mode & 0o777 == 0o444
    for picture in imported.pictures:
        assert picture.sha256 + Path(picture.name).suffix in there
        assert picture.mask is None or f"{picture.mask}.png" in there


def files(store: Path) -> set[str]:
    """The names of the files in the store, and of anything else in it that isn't a folder for them."""
    found = {path.name for path in store.rglob("*") if not path.is_dir()}
    return found | {path.name for path in store.iterdir() if len(path.name) != 2} if store.exists() else set()


def state(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """The content, mode and time of change of each file, for a comparison with later."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
