# SPDX-License-Identifier: Apache-2.0
"""Reads another program's settings, and looks at the files that they name."""

import os
from collections.abc import Sequence
from pathlib import Path

from fluxgym.files import read_file
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import TrainerOption
from fluxgymd.exchange import recognize
from fluxgymd.exchange.carried import Carried
from fluxgymd.snapshots import contents

MOST_FOLDERS = 1000


def convert(text: str, folder: Path, options: Sequence[TrainerOption]) -> m.ConvertReply:
    """The settings as those of a job. InvalidSetting if it is no known file. `folder`: where relative paths begin;
    `options`: the trainer's flags. Blocks."""
    program, document, to_job = recognize.read(text)
    carried = Carried(options, folder, OnDisk())
    to_job(document, carried)
    job, notes = carried.job()
    return m.ConvertReply(job=job, program=program, notes=notes)


class OnDisk:
    """Answers about the files of this machine. A file that cannot be read is as good as none."""

    def text(self, path: str) -> str | None:
        try:
            return read_file(path, most=recognize.MOST_BYTES).decode()
        except (OSError, ValueError):
            return None

    def folders(self, path: str) -> list[str] | None:
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())[:MOST_FOLDERS]
        except (OSError, ValueError):
            return None

    def pictures(self, path: str) -> int | None:
        try:
            return len(contents.picture_names(Path(path))) or None
        except (OSError, ValueError):
            return None
