# SPDX-License-Identifier: Apache-2.0
"""Asks the trainer what it makes of jobs: the daemon writes the snapshot, dataset.toml and the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fluxgym.protocol.messages import Context
from fluxgymd.snapshots import snapshot, subsets
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import dataset_toml, kohya
from fluxgymd.trainers.states import StateWriter
from tests.daemon.running import TRAINER_PYTHON
from tests.harness.waiting import DEADLINE_SECONDS
from tests.settings.tables import TRAINER

SIZES = {"a": (160, 90), "b": (120, 160), "c": (70, 70)}
CAPTIONS = {"a": "a cat,\ngrey\n", "b": "C4T, a mat"}


def pictures(folder: Path) -> Path:
    """Writes a wide picture, an upright photo of 3:4, and a square without a caption."""
    for name, size in SIZES.items():
        Image.new("RGB", size).save(folder / f"{name}.png")
        if name in CAPTIONS:
            (folder / f"{name}.txt").write_text(CAPTIONS[name])
    return folder


def trained(contexts: Sequence[Context], place: Path) -> list[dict[str, Any]]:
    """Takes a snapshot for each job, and returns what ask_dataset.py says about it. `place`: an empty folder.
    The job's folder is `x` in each answer, so that the answers for equal settings are equal."""
    lines = []
    for number, context in enumerate(contexts):
        folder = JobFolder(place / str(number))
        folder.path.mkdir()
        copies, how = subsets.folders(context, folder.dataset), dataset_toml.captions(context)
        for subset, copy in zip(subsets.of(context), copies, strict=True):
            copy.parent.mkdir(exist_ok=True)
            snapshot.take(Path(subset.dataset), copy, subset.captions(how))
        folder.dataset_config.write_bytes(dataset_toml.render(context, copies))
        lines.append(kohya.arguments(context, folder, None, trainer=StateWriter.OURS))
    done = subprocess.run(
        [TRAINER_PYTHON, Path(__file__).with_name("ask_dataset.py"), TRAINER],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [
        json.loads(json.dumps(answer).replace(str(place / str(number)), "x"))
        for number, answer in enumerate(json.loads(done.stdout))
    ]
