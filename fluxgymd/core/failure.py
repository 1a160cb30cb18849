# SPDX-License-Identifier: Apache-2.0
"""What a failure was, told from the evidence that an attempt left, with one line of advice for each kind.

The lines are those of PyTorch, CUDA, the kernel and the two trainers. Where nothing matches it is `other`: no cause
is made up.
"""

import errno
import re

from fluxgym.messages import FailureKind
from fluxgymd.core.records import ExitRecord

ADVICE = {
    FailureKind.GPU_OUT_OF_MEMORY: "The GPU's memory was not enough: lower the resolution or the rank, turn "
    "gradient_checkpointing on, or use a larger GPU; `fluxgymctl gpus` shows what else is on it.",
    FailureKind.HOST_OUT_OF_MEMORY: "The machine's memory was not enough: close other programs, add swap, or use a "
    "smaller text encoder file.",
    FailureKind.DISK_FULL: "The disk is full: free some space, then `fluxgymctl resume` goes on from the last "
    "checkpoint.",
    FailureKind.MISSING_FILE: "A file is missing that was there at the submit: put it back, then resume.",
    FailureKind.BAD_DATASET: "The dataset cannot be trained on: the log names the picture or caption; submit a "
    "corrected one under a new name.",
    FailureKind.BAD_SETTING: "The trainer refused a setting: correct it with `fluxgymctl edit`, then resume.",
    FailureKind.NOT_A_NUMBER: "The loss was no number any more: lower the learning rate, or resume from an earlier "
    "checkpoint.",
    FailureKind.KILLED: "Something outside of FluxGym killed it; `fluxgymctl resume` goes on from its last "
    "checkpoint.",
    FailureKind.CRASHED: "The trainer or its driver crashed; the log and `dmesg` may say where.",
    FailureKind.NOT_RESUMABLE: "Its settings do not fit its checkpoints: set them back with `fluxgymctl edit`, or "
    "submit it under a new name.",
    FailureKind.OTHER: "The log says more: `fluxgymctl logs`.",
}

# In the order in which they win: a full disk also ends in a traceback, and so does an exhausted GPU.
SIGNS: tuple[tuple[FailureKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile("|".join(signs), re.IGNORECASE))
    for kind, signs in (
        (
            FailureKind.GPU_OUT_OF_MEMORY,
            ("CUDA out of memory", "CUDA error: out of memory", "OutOfMemoryError", "CUBLAS_STATUS_ALLOC_FAILED"),
        ),
        (
            FailureKind.HOST_OUT_OF_MEMORY,
            (
                *("DefaultCPUAllocator", "Cannot allocate memory", r"\bMemoryError", "ArrayMemoryError"),
                *("insufficient shared memory", r"DataLoader worker .* is killed by signal: Killed"),
            ),
        ),
        # torch.save tells a full disk as what its archive met (measured with torch 2.13 on a full tmpfs).
        (
            FailureKind.DISK_FULL,
            ("No space left on device", "Disk quota exceeded", r"inline_container\.cc:\d+\] \. unexpected pos"),
        ),
        (
            FailureKind.CRASHED,
            ("illegal memory access", "device-side assert", "unspecified launch failure", "uncorrectable ECC error"),
        ),
        (FailureKind.NOT_A_NUMBER, (r"loss (is|was) (nan|inf|not finite)", "non-finite loss", "returned nan values")),
        (FailureKind.MISSING_FILE, ("No such file or directory", "FileNotFoundError", "there is no file")),
        (
            FailureKind.BAD_DATASET,
            (
                *("No data found", "UnidentifiedImageError", "image file is truncated"),
                *("dataset is empty: no picture", "is damaged or not a picture", "error: the caption file"),
            ),
        ),
        (
            FailureKind.BAD_SETTING,
            ("unrecognized arguments", "MultipleInvalid", "error: (argument )?--"),
        ),
    )
)

CRASHES = frozenset({4, 6, 7, 8, 11})  # SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV
KILL = 9

NOT_STARTED = {
    errno.ENOENT: FailureKind.MISSING_FILE,  # of a script it may be the interpreter
    errno.ENOTDIR: FailureKind.MISSING_FILE,
    errno.EACCES: FailureKind.BAD_SETTING,
    errno.ENOEXEC: FailureKind.BAD_SETTING,
    errno.E2BIG: FailureKind.BAD_SETTING,
    errno.ENOMEM: FailureKind.HOST_OUT_OF_MEMORY,
    errno.ENOSPC: FailureKind.DISK_FULL,
    errno.EDQUOT: FailureKind.DISK_FULL,
}
"""By the error number of the exec, or of the files that must be there before it."""


def classify(record: ExitRecord, tail: str) -> FailureKind:
    """The kind of a failure. `tail`: the last lines of the attempt's output."""
    if record.oom_kills:
        return FailureKind.HOST_OUT_OF_MEMORY
    if record.kind == "exec-failed":
        return NOT_STARTED.get(record.errno or 0, FailureKind.OTHER)
    for kind, sign in SIGNS:
        if sign.search(tail):
            return kind
    if record.kind == "signaled":
        if record.signal == KILL:
            return FailureKind.KILLED
        if record.signal in CRASHES:
            return FailureKind.CRASHED
    return FailureKind.BAD_SETTING if record.code == 2 else FailureKind.OTHER  # 2: argparse refused the command line
