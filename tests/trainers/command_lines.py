# SPDX-License-Identifier: Apache-2.0
"""A job with some settings changed, and the command line that it gives."""

from pathlib import Path

import msgspec

from fluxgym.protocol.messages import Context
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.states import StateWriter
from tests.core.histories import CONTEXT

FOLDER = JobFolder(Path("/home/outputs/my-lora"))


def changed(**values: object) -> Context:
    return msgspec.structs.replace(CONTEXT, **values)


def lines(context: Context, resume: str | None = None, *, trainer: StateWriter = StateWriter.SD_SCRIPTS) -> list[str]:
    """Returns the command line, one line for each flag with its values."""
    found: list[str] = []
    for word in kohya.arguments(context, FOLDER, resume, trainer=trainer):
        if word.startswith("--"):
            found.append(word)
        else:
            found[-1] += f" {word}"
    return found
