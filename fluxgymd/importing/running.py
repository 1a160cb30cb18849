# SPDX-License-Identifier: Apache-2.0
"""Whether the older program still works on a folder: its trainer, or its monitor, which would start the trainer again
(fluxgym.md 3.3). Both name the folder on their command line. Looks at processes, and signals none (promise 6).
"""

import os
from collections.abc import Iterator
from pathlib import Path

FLAGS = (b"--output_dir", b"--output-dir")


def working_on(folder: Path) -> int | None:
    """The process id of one that does; None if none is seen."""
    wanted = os.path.realpath(folder)
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                if any(_path(name, word) == wanted for word in _folders(words)):
                    return int(name)
            except OSError:
                continue  # it ended, or it is another user's
    return None


def _folders(words: list[bytes]) -> Iterator[bytes]:
    for index, word in enumerate(words):
        flag, equals, value = word.partition(b"=")
        if flag in FLAGS and (equals or words[index + 1 :]):
            yield value if equals else words[index + 1]


def _path(process: str, word: bytes) -> str:
    path = os.fsdecode(word)
    if not os.path.isabs(path):  # where another user's process is, only root may look
        path = os.path.join(os.readlink(f"/proc/{process}/cwd"), path)
    return os.path.realpath(path)
