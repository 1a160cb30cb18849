# SPDX-License-Identifier: Apache-2.0
"""Finds out whether the older FluxGym still works on a folder: its trainer, or its monitor, which would restart the
trainer. Both name the folder on their command line. Looks at processes but never signals any (promise 6).
"""

import os
from collections.abc import Iterator
from pathlib import Path

FLAGS = (b"--output_dir", b"--output-dir")


def working_on(folder: Path) -> int | None:
    """The id of a process that works on the folder; None if none is found."""
    wanted = os.path.realpath(folder)
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                if any(_path(name, word) == wanted for word in _folders(words)):
                    return int(name)
            except OSError:
                continue  # the process ended, or belongs to another user
    return None


def _folders(words: list[bytes]) -> Iterator[bytes]:
    for index, word in enumerate(words):
        flag, equals, value = word.partition(b"=")
        if flag in FLAGS and (equals or words[index + 1 :]):
            yield value if equals else words[index + 1]


def _path(process: str, word: bytes) -> str:
    path = os.fsdecode(word)
    if not os.path.isabs(path):  # only root may read the cwd of another user's process
        path = os.path.join(os.readlink(f"/proc/{process}/cwd"), path)
    return os.path.realpath(path)
