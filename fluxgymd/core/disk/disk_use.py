# SPDX-License-Identifier: Apache-2.0
"""Classifies the files of a home by their paths."""

import re
from collections.abc import Sequence

from fluxgym.protocol.machine_messages import DiskUseKind

LOGS = frozenset({"training.log", "monitor.log", "metrics.jsonl", "events.jsonl"})
CACHED = (".npz", ".npz.tmp")
_STATE = re.compile(r"-state(\.[a-z0-9-]+)*$")
"""The end of a state's name, including states that are half written, replaced or set aside."""


def kind_of(parts: Sequence[str]) -> DiskUseKind:
    """`parts`: the components of a file's path in the home."""
    match list(parts):
        case ["outputs" | "datasets", trash, *_] if trash.startswith(".trash"):
            return DiskUseKind.TRASH
        case ["outputs", _, *rest] if rest:
            return _of_a_job(rest)
        case ["datasets" | "pictures", *_]:
            return DiskUseKind.PICTURES
        case ["cache", *_]:
            return DiskUseKind.CACHES
        case ["models", *_]:
            return DiskUseKind.MODELS
    return DiskUseKind.OTHER


def _of_a_job(parts: list[str]) -> DiskUseKind:
    """`parts`: the components of the path in the job's folder."""
    match parts:
        case [state, _, *_] if _STATE.search(state):
            return DiskUseKind.STATES
        case [file] if file.endswith(".safetensors"):
            return DiskUseKind.LORAS
        case [file] if file in LOGS:
            return DiskUseKind.LOGS
        case ["sample", *_]:
            return DiskUseKind.SAMPLES
        case ["dataset", *_]:
            return DiskUseKind.CACHES if parts[-1].endswith(CACHED) else DiskUseKind.PICTURES
        case ["attempts", _, "evidence", *_]:
            return DiskUseKind.EVIDENCE
        case ["attempts", *_]:
            return DiskUseKind.LOGS
    return DiskUseKind.OTHER
