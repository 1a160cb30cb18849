# SPDX-License-Identifier: Apache-2.0
"""Every state in which a power cut may leave a folder: after each call that changes it, with the data that was not
synced kept, dropped, torn or reordered (ALICE, OSDI 14).

The model is the weakest one that POSIX allows. An fsync of a file makes its content durable, but no name; an fsync of
a folder makes its names durable, but no content. Everything else may be on the disk or not, each change
independently. After a failed fsync the content on the disk is unknown, and a later successful fsync doesn't change
that: the kernel has marked the pages clean (Rebello et al., ATC 20).
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

Tree = dict[str, bytes | None]
"""Path below the folder -> content; None for a folder."""
T = TypeVar("T")


@dataclass(eq=False)
class File:
    durable: list[bytes] = field(default_factory=lambda: [b""])
    """The possible contents on the disk; more than one only after an fsync that failed."""
    pending: list[Callable[[bytes], list[bytes]]] = field(default_factory=list)
    """The changes since the last fsync. Each returns its possible results: first the complete one, then torn ones."""

    def outcomes(self) -> list[bytes]:
        found = list(self.durable)
        for kept in _subsets(self.pending):
            for before in self.durable:
                found += _torn(before, kept)
        return _unique(found)

    def sync(self, size: int) -> None:
        """`size`: the file's current size. It is known even after an fsync failed, unlike the pages."""
        for change in self.pending:
            self.durable = [change(before)[0] for before in self.durable]
        self.durable, self.pending = _unique([one[:size].ljust(size, b"\0") for one in self.durable]), []

    def sync_failed(self) -> None:
        self.durable, self.pending = self.outcomes(), []


@dataclass(eq=False)
class Folder:
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[str | None, str | None, File | Folder]] = field(default_factory=list)
    """Changes of names: the old name, the new name, and the node. A rename within a folder is one change."""

    def now(self) -> dict[str, File | Folder]:
        return _renamed(self.durable, self.pending)

    def outcomes(self) -> list[dict[str, File | Folder]]:
        return [_renamed(self.durable, kept) for kept in _subsets(self.pending)]

    def sync(self) -> None:
        self.durable, self.pending = self.now(), []


def _renamed(
    names: dict[str, File | Folder], changes: list[tuple[str | None, str | None, File | Folder]]
) -> dict[str, File | Folder]:
    names = dict(names)
    for old, new, node in changes:
        if old is not None and names.get(old) is node:
            del names[old]
        if new is not None:
            names[new] = node
    return names


def _subsets(changes: list[T]) -> Iterator[list[T]]:
    """The subsets of the changes that may have reached the disk. Of more than six changes, only some: each prefix,
    and each set without a single change."""
    if len(changes) <= 6:
        for count in range(len(changes) + 1):
            yield from (list(kept) for kept in itertools.combinations(changes, count))
        return
    for count in range(len(changes) + 1):
        yield changes[:count]
    for missing in range(len(changes)):
        yield changes[:missing] + changes[missing + 1 :]


def _torn(before: bytes, changes: list[Callable[[bytes], list[bytes]]]) -> list[bytes]:
    """The possible contents after the changes, of which the last may be complete or torn."""
    for change in changes[:-1]:
        before = change(before)[0]
    return changes[-1](before) if changes else [before]


def _unique(contents: list[bytes]) -> list[bytes]:
    return list(dict.fromkeys(contents))


def _written(offset: int, data: bytes) -> Callable[[bytes], list[bytes]]:
    def change(before: bytes) -> list[bytes]:
        def put(part: bytes) -> bytes:
            return before[:offset].ljust(offset, b"\0") + part + before[offset + len(part) :]

        half = data[: len(data) // 2]
        # Complete; the first half; only the size, with NULs as content; NULs in place of the first half.
        return [put(data), put(half), put(bytes(len(data))), put(bytes(len(half)) + data[len(half) :])]

    return change


def _cut(size: int) -> Callable[[bytes], list[bytes]]:
    return lambda before: [before[:size].ljust(size, b"\0")]


@dataclass
class PowerCuts:
    """The recorded states, each with the number of acknowledgements before it."""

    root: Path
    tree: Folder
    acknowledged: int = 0
    states: list[tuple[int, Tree]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fail_at: int | None = None
    """The number of the call that fails, counted from 0."""
    lasting: bool = False
    """Whether all later calls fail too, until `mend`."""
    error: int = 0
    _open: dict[int, File | Folder] = field(default_factory=dict)
    _seen: set[tuple[int, frozenset[tuple[str, bytes | None]]]] = field(default_factory=set)

    def acknowledge(self) -> None:
        """From here on, the request made last must have its effect after every power cut."""
        self.acknowledged += 1
        self._cut()

    def mend(self) -> None:
        """From here on no call fails."""
        self.fail_at = None

    def _cut(self) -> None:
        for tree in _trees(self.tree):
            key = (self.acknowledged, frozenset(tree.items()))
            if key not in self._seen:
                self._seen.add(key)
                self.states.append((self.acknowledged, tree))

    # -- the calls -----------------------------------------------------------------------------------------------

    def begin(self, call: str, path: str) -> None:
        """Records a call before it is made; raises an OSError if it is to fail."""
        number = len(self.calls)
        self.calls.append(f"{call} {os.path.relpath(path, self.root)}")
        if number == self.fail_at or (self.lasting and self.fail_at is not None and number > self.fail_at):
            raise OSError(self.error, os.strerror(self.error), path)

    def below(self, path: Any, folder: int | None = None) -> str | None:
        """The absolute path if it is in the recorded folder, else None."""
        if isinstance(path, int):
            path, folder = os.readlink(f"/proc/self/fd/{path}"), None
        start = os.getcwd() if folder is None else os.readlink(f"/proc/self/fd/{folder}")
        whole = os.path.normpath(os.path.join(start, os.fspath(path)))
        return whole if whole == str(self.root) or whole.startswith(f"{self.root}/") else None

    def node(self, path: str) -> File | Folder:
        found: File | Folder = self.tree
        for name in Path(path).relative_to(self.root).parts:
            assert isinstance(found, Folder)
            found = found.now()[name]
        return found

    def parent(self, path: str) -> Folder:
        found = self.node(os.path.dirname(path))
        assert isinstance(found, Folder)
        return found

    def opened(self, path: str, descriptor: int, flags: int, *, existed: bool) -> None:
        if not existed:
            self.parent(path).pending.append((None, os.path.basename(path), File()))
        node = self.node(path)
        if existed and flags & os.O_TRUNC and isinstance(node, File):
            node.pending.append(_cut(0))
        self._open[descriptor] = node
        self._cut()

    def change(self, descriptor: int, change: Callable[[bytes], list[bytes]]) -> None:
        node = self._open[descriptor]
        assert isinstance(node, File)
        node.pending.append(change)
        self._cut()

    def synced(self, descriptor: int) -> None:
        node = self._open[descriptor]
        if isinstance(node, File):
            node.sync(os.fstat(descriptor).st_size)
        else:
            node.sync()
        self._cut()

    def sync_failed(self, descriptor: int) -> None:
        node = self._open[descriptor]
        if isinstance(node, File):
            node.sync_failed()

    def renamed(self, old: str, new: str) -> None:
        node, parent = self.node(old), self.parent(old)
        assert parent is self.parent(new), "a rename from one folder to another is not modelled"
        parent.pending.append((os.path.basename(old), os.path.basename(new), node))
        self._cut()

    def removed(self, path: str) -> None:
        self.parent(path).pending.append((os.path.basename(path), None, self.node(path)))
        self._cut()

    def made(self, path: str) -> None:
        self.parent(path).pending.append((None, os.path.basename(path), Folder()))
        self._cut()


def _trees(folder: Folder, prefix: str = "") -> Iterator[Tree]:
    """Every tree that may be found after a power cut at this moment."""
    for names in folder.outcomes():
        choices: list[list[Tree]] = []
        for name, node in names.items():
            path = f"{prefix}{name}"
            if isinstance(node, File):
                choices.append([{path: content} for content in node.outcomes()])
            else:
                choices.append([{path: None, **tree} for tree in _trees(node, f"{path}/")])
        for chosen in itertools.product(*choices):
            yield {path: content for tree in chosen for path, content in tree.items()}


def _read(path: Path) -> Folder:
    """A folder of which everything is durable."""
    return Folder(
        {entry.name: _read(entry) if entry.is_dir() else File([entry.read_bytes()]) for entry in path.iterdir()}
    )


def build(tree: Tree, at: Path) -> Path:
    """Writes the tree to the disk; returns `at`."""
    at.mkdir(parents=True)
    for path, content in tree.items():
        if content is None:
            (at / path).mkdir(parents=True, exist_ok=True)
        else:
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_bytes(content)
    return at


@contextmanager
def power_cuts(
    root: Path, *, fail_at: int | None = None, error: int = 0, lasting: bool = False
) -> Iterator[PowerCuts]:
    """Records what this process does below a folder. In the beginning everything in it is durable."""
    root = root.resolve()
    cuts = PowerCuts(root, _read(root), fail_at=fail_at, error=error, lasting=lasting)
    cuts._cut()
    with pytest.MonkeyPatch.context() as patch:
        _watch(cuts, patch)
        yield cuts


def _watch(cuts: PowerCuts, patch: pytest.MonkeyPatch) -> None:
    real = {name: getattr(os, name) for name in ("open", "close", "write", "fsync", "ftruncate", "rename")}
    real |= {name: getattr(os, name) for name in ("unlink", "rmdir", "mkdir")}
    real_open = io.open

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        whole = cuts.below(path, dir_fd)
        existed = whole is not None and os.path.lexists(whole)
        if whole is not None and flags & (os.O_CREAT | os.O_TRUNC):
            cuts.begin("open", whole)
        descriptor: int = real["open"](path, flags, mode, dir_fd=dir_fd)
        if whole is not None:
            cuts.opened(whole, descriptor, flags, existed=existed)
        return descriptor

    def close(descriptor: int) -> None:
        cuts._open.pop(descriptor, None)
        real["close"](descriptor)

    def write(descriptor: int, data: Any) -> int:
        if descriptor not in cuts._open:
            return int(real["write"](descriptor, data))
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        data = bytes(data)
        try:
            cuts.begin("write", str(cuts.below(descriptor)))
        except OSError:  # a full disk takes a part of the data first
            taken = real["write"](descriptor, data[: len(data) // 2])
            cuts.change(descriptor, _written(offset, data[:taken]))
            raise
        taken = int(real["write"](descriptor, data))
        cuts.change(descriptor, _written(offset, data[:taken]))
        return taken

    def fsync(descriptor: int) -> None:
        if descriptor not in cuts._open:
            return real["fsync"](descriptor)  # type: ignore[no-any-return]
        try:
            cuts.begin("fsync", str(cuts.below(descriptor)))
        except OSError:
            cuts.sync_failed(descriptor)
            raise
        return cuts.synced(descriptor)

    def ftruncate(descriptor: int, length: int) -> None:
        cuts.begin("ftruncate", str(cuts.below(descriptor)))
        real["ftruncate"](descriptor, length)
        cuts.change(descriptor, _cut(length))

    def rename(old: Any, new: Any) -> None:
        first, second = cuts.below(old), cuts.below(new)
        assert first is not None
        assert second is not None
        cuts.begin("rename", first)
        real["rename"](old, new)
        cuts.renamed(first, second)

    def removing(name: str) -> Callable[..., None]:
        def remove(path: Any, *, dir_fd: int | None = None) -> None:
            whole = cuts.below(path, dir_fd)
            assert whole is not None
            cuts.begin(name, whole)
            real[name](path, dir_fd=dir_fd)
            cuts.removed(whole)

        return remove

    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        whole = cuts.below(path, dir_fd)
        assert whole is not None
        cuts.begin("mkdir", whole)
        real["mkdir"](path, mode, dir_fd=dir_fd)
        cuts.made(whole)

    class Raw(io.RawIOBase):
        """A file for `open` whose writes go through os.write."""

        def __init__(self, path: Any) -> None:
            self._descriptor = open_(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

        def writable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
            return os.lseek(self._descriptor, offset, whence)

        def fileno(self) -> int:
            return self._descriptor

        def write(self, data: Any) -> int:
            return write(self._descriptor, data)

        def close(self) -> None:
            if not self.closed:
                super().close()
                close(self._descriptor)

    def open_file(path: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if mode == "xb" and cuts.below(path) is not None:
            return io.BufferedWriter(Raw(path))
        return real_open(path, mode, *arguments, **more)

    calls: dict[str, Callable[..., Any]] = {"open": open_, "close": close, "write": write, "fsync": fsync}
    calls |= {"ftruncate": ftruncate, "rename": rename, "mkdir": mkdir}
    calls |= {name: removing(name) for name in ("unlink", "rmdir")}
    for name, call in calls.items():
        patch.setattr(os, name, call)
    patch.setattr(io, "open", open_file)
