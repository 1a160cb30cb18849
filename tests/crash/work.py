# SPDX-License-Identifier: Apache-2.0
"""What the jobs of a soak do: a training, or a program that counts, saves its progress, and resumes from there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fluxgym.protocol.messages import Context
from tests.crash.material import short
from tests.crash.trainers import WatchedTrainers
from tests.daemon.running import TRAINER_PYTHON, program, tensors

COUNT = 60
# On a full disk any of these writes may fail; then the program fails.
COUNTS = f"""
n=$(cat counted 2>/dev/null || echo 0)
while [ "$n" -lt {COUNT} ]; do
    sleep 0.05
    n=$((n + 1))
    echo "$n" >counted.new && mv counted.new counted || exit 1
done
seq "$n" >numbers && size=$(wc -c <numbers) || exit 1
echo '{{"files": [{{"path": "numbers", "size": '"$size"'}}]}}' >result.new && mv result.new result.json
"""


class Work(Protocol):
    """`words`: text in the command lines of its processes."""

    words: str

    def context(self, name: str, trainers: WatchedTrainers) -> Context: ...

    def result(self, folder: Path) -> Mapping[str, bytes]:
        """The result of a completed job, which is the same for every job, whatever happened to it."""


class Trainings:
    words = str(TRAINER_PYTHON)

    def __init__(self, model: Path) -> None:
        self._model = model

    def context(self, name: str, _: WatchedTrainers) -> Context:
        return short(name, self._model)

    def result(self, folder: Path) -> Mapping[str, bytes]:
        return tensors(folder / f"{folder.name}.safetensors")


class Programs:
    words = "counted.new"

    def context(self, name: str, trainers: WatchedTrainers) -> Context:
        return program(name, trainers.watched(COUNTS))

    def result(self, folder: Path) -> Mapping[str, bytes]:
        return {"numbers": (folder / "numbers").read_bytes()}
