# SPDX-License-Identifier: Apache-2.0
"""A plan as our trainer tells it (docs/trainer.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fluxgymd.store.home import JobFolder

FOLDER = JobFolder(Path("/home/outputs/my-lora"))


def picture(path: str, **changes: Any) -> dict[str, Any]:
    return {
        "path": path,
        "dataset": 0,
        "size": [80, 64],
        "resized": [80, 64],
        "bucket": [64, 64],
        "crop": [8, 0, 72, 64],
        "repeats": 4,
        "regularisation": False,
        "validated": False,
        "clipTokens": 12,
        "t5Tokens": 14,
    } | changes


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "pictures": 2,
        "repeatedPictures": 8,
        "batchesPerEpoch": 2,
        "stepsPerEpoch": 2,
        "totalSteps": 6,
        "totalEpochs": 3,
        "firstStep": 0,
        "loraBytes": 10,
        "stateBytes": 100,
        "loras": 3,
        "lorasKept": 3,
        "states": 3,
        "statesKept": 3,
        "samples": 0,
        "validations": 0,
        "clipReads": 77,
        "clipTrained": False,
        "t5Reads": 512,
        "buckets": [
            {"dataset": 0, "size": [64, 64], "pictures": 2, "repeatedPictures": 8, "batchSize": 4, "batches": 2}
        ],
        "pictureList": [picture("/p/1.png"), picture("/p/2.png")],
        "caches": {"latents": 2, "texts": 2, "bytes": 1000},
        "memory": {
            "availableBytes": 100,
            "estimatedBytes": 90,
            "base": "fp8",
            "checkpointedBlocks": 57,
            "blocksToSwap": 4,
            "blocks": 57,
            "problem": None,
        },
    } | changes
