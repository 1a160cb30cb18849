# SPDX-License-Identifier: Apache-2.0
"""Classifies a failure by the evidence that an attempt left, and has a line of advice for each kind.

The patterns match messages of PyTorch, CUDA, the kernel and the two trainers. If none matches, the kind is `other`:
FluxGym invents no cause.
"""

import errno
import re

from fluxgym.protocol.messages import FailureKind
from fluxgymd.core.journal.records import ExitRecord

_ADVICE = {
    FailureKind.GPU_OUT_OF_MEMORY: "The GPU ran out of memory: lower the resolution or the rank, turn "
    "gradient_checkpointing on, or use a larger GPU; `fluxgymctl gpus` shows what else uses the GPU.",
    FailureKind.HOST_OUT_OF_MEMORY: "The machine ran out of memory: close other programs, add swap, or use a "
    "smaller text encoder file.",
    FailureKind.DISK_FULL: "The disk is full: free some space, then run `fluxgymctl resume {name}`.",
    FailureKind.MISSING_FILE: "A required file is missing: put it back, then run `fluxgymctl resume {name}`.",
    FailureKind.BAD_DATASET: "The dataset cannot be used: `fluxgymctl logs {name}` names the picture or caption; "
    "submit a corrected dataset under a new name.",
    FailureKind.BAD_SETTING: "The job cannot run with its settings: correct them with `fluxgymctl edit {name}`, "
    "then run `fluxgymctl resume {name}`.",
    FailureKind.NOT_A_NUMBER: "The loss became NaN or infinite: lower the learning rate with `fluxgymctl edit "
    "{name}`, then run `fluxgymctl resume {name}`.",
    FailureKind.KILLED: "Something outside FluxGym killed the job; `fluxgymctl resume {name}` continues it.",
    FailureKind.CRASHED: "The program or a driver crashed; `fluxgymctl logs {name}` and `dmesg` may say where.",
    FailureKind.NOT_RESUMABLE: "The settings no longer match the checkpoints: restore them with `fluxgymctl edit "
    "{name}`, or submit the job under a new name.",
    FailureKind.STUCK: "The job hung, and the folder evidence/ of its attempt shows where: fix the cause, then "
    "run `fluxgymctl resume {name}`.",
    FailureKind.OTHER: "`fluxgymctl logs {name}` shows more.",
}


_WITHOUT_LOG = {
    FailureKind.CRASHED: "The program or a driver crashed before anything was logged; `dmesg` may say where.",
    FailureKind.OTHER: "Nothing was logged: run the program by hand to see what is wrong.",
}


def advice(kind: FailureKind, *, name: str, log_is_empty: bool = False) -> str:
    """One line that says what to do about a failure of the job `name`."""
    text = _WITHOUT_LOG.get(kind, _ADVICE[kind]) if log_is_empty else _ADVICE[kind]
    return text.format(name=name)


# The first match wins, so specific signs come first: a full disk and an exhausted GPU also end in a traceback.
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
        # On a full disk, torch.save fails with an error of its archive writer (measured: torch 2.13, full tmpfs).
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
BUS = 7  # SIGBUS: sent on a full disk for a write to a mapped file
KILL = 9

NOT_STARTED = {
    errno.ENOENT: FailureKind.MISSING_FILE,  # the program, or the interpreter of a script
    errno.ENOTDIR: FailureKind.MISSING_FILE,
    errno.EACCES: FailureKind.BAD_SETTING,
    errno.ENOEXEC: FailureKind.BAD_SETTING,
    errno.E2BIG: FailureKind.BAD_SETTING,
    errno.ENOMEM: FailureKind.HOST_OUT_OF_MEMORY,
    errno.ENOSPC: FailureKind.DISK_FULL,
    errno.EDQUOT: FailureKind.DISK_FULL,
}
"""Kinds by the errno of a failed start: of the exec, or of the files that have to be opened before it."""


def classify(record: ExitRecord, tail: str, *, refusal_status: int | None) -> FailureKind:
    """The kind of a failure. `tail`: the last lines of the attempt's output; `refusal_status`: the exit status with
    which the program rejects its settings, if it has one."""
    if record.oom_kills:
        return FailureKind.HOST_OUT_OF_MEMORY
    if record.kind == "exec-failed":
        return NOT_STARTED.get(record.errno or 0, FailureKind.OTHER)
    for failure, sign in SIGNS:
        if sign.search(tail):
            return failure
    if record.disk_full and (record.kind == "exited" or record.signal == BUS):
        return FailureKind.DISK_FULL  # the program's own message may not have been written
    if record.kind == "signaled":
        if record.signal == KILL:
            return FailureKind.KILLED
        if record.signal in CRASHES:
            return FailureKind.CRASHED
    refused = refusal_status is not None and record.code == refusal_status
    return FailureKind.BAD_SETTING if refused else FailureKind.OTHER
