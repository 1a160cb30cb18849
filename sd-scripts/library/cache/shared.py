# SPDX-License-Identifier: Apache-2.0
"""Caches that trainings share: each once, in a folder that FLUXGYM_CACHES names, under a hash of what it was made
from (`inputs`). No torch.

A file there and the one beside a picture are the same file, or copies where links are impossible. Neither is ever
written to: a cache is replaced by a new file. A shared cache counts only once its seal has been compared, like any
other, so a damaged one is made again and replaced. An error of this folder costs time, and never a training.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from library import atomic
from library.cache.inputs import Content
from library.family.cache_names import arrays_in
from library.findings import warn

VARIABLE = "FLUXGYM_CACHES"
NOT_LINKED = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
"""The errors of link(2) on another file system, on one without hard links, or after too many of them."""


class SharedCaches:
    """The shared caches, by what they hold. Without a folder, nothing is shared."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def of_environment(cls) -> SharedCaches:
        folder = os.environ.get(VARIABLE)
        return cls(Path(folder) if folder else None)

    @property
    def used(self) -> bool:
        return self._folder is not None

    def listed(self, content: Content) -> frozenset[str]:
        """The names of the arrays that the shared cache with this content lists; empty without such a cache."""
        return frozenset() if self._folder is None else arrays_in(self._file(content))

    def take(self, files: Mapping[Path, Content]) -> int:
        """Puts shared caches in the places of these files, as far as there are any. Returns how many."""
        if self._folder is None:
            return 0
        taken, problems = 0, []
        for path, content in files.items():
            shared = self._file(content)
            try:
                if shared.exists() and not (path.exists() and path.samefile(shared)):
                    _place(shared, path)
                    taken += 1
            except FileNotFoundError:
                pass  # it was deleted at this moment, to keep the folder within its limit
            except OSError as error:
                problems.append(f"{shared}: {error.strerror}")
        if problems:
            count = "1 shared cache" if len(problems) == 1 else f"{len(problems)} shared caches"
            warn(f"{count} cannot be used, for example {problems[0]}")
        return taken

    def keep(self, files: Mapping[Path, Content], *, made: Collection[Path]) -> None:
        """Shares those of these caches that have seals: sd-scripts' have none. `made`: the ones that this training
        has made itself, so that what was shared in their place is of no use."""
        if self._folder is None:
            return
        for path, content in files.items():
            try:
                self._keep(path, content, made=path in made)
            except (FileNotFoundError, FileExistsError):
                pass  # another training is sharing the same cache at this moment
            except OSError as error:
                warn(f"caches cannot be shared with later trainings in {self._folder}: {error.strerror}")
                return

    def _keep(self, path: Path, content: Content, *, made: bool) -> None:
        shared = self._file(content)
        if shared.exists() and (not made or shared.samefile(path)):
            return
        if arrays_in(path) >= content.seals:
            shared.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _place(path, shared, read_only=True)

    def _file(self, content: Content) -> Path:
        assert self._folder is not None
        return self._folder / content.key[:2] / f"{content.key}.npz"


def _place(source: Path, target: Path, *, read_only: bool = False) -> None:
    """Makes `target` a link to the source, or else a copy. It is complete or as before at every moment."""
    atomic.write_file(target, lambda part: _link(source, part, read_only=read_only), durable=False)


def _link(source: Path, part: Path, *, read_only: bool) -> None:
    part.unlink(missing_ok=True)  # of a training that was killed
    try:
        part.hardlink_to(source)
    except OSError as error:
        if error.errno not in NOT_LINKED:
            raise
        shutil.copyfile(source, part)
    if read_only:
        part.chmod(0o444)
