# SPDX-License-Identifier: Apache-2.0
"""The kinds of failures, recognized from lines as PyTorch, CUDA, Python, the kernel and the two trainers write
them."""

import errno
import re
import signal

import pytest

from fluxgym.protocol.messages import FailureKind
from fluxgymd.core.failure import advice, classify
from fluxgymd.core.journal.records import ExitRecord

K = FailureKind
FAILED = ExitRecord(kind="exited", code=1)

LINES = [
    # PyTorch and CUDA
    (
        K.GPU_OUT_OF_MEMORY,
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of "
            "23.64 GiB of which 1.31 GiB is free. Including non-PyTorch memory, this process has 22.31 GiB in use."
        ),
    ),
    (K.GPU_OUT_OF_MEMORY, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB"),
    (K.GPU_OUT_OF_MEMORY, "RuntimeError: CUDA error: out of memory"),
    (
        K.GPU_OUT_OF_MEMORY,
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ),
    (
        K.HOST_OUT_OF_MEMORY,
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
            "you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
    ),
    (K.HOST_OUT_OF_MEMORY, "OSError: [Errno 12] Cannot allocate memory"),
    (K.HOST_OUT_OF_MEMORY, 'Traceback (most recent call last):\n  File "x.py", line 1\nMemoryError'),
    (
        K.HOST_OUT_OF_MEMORY,
        (
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array with shape "
            "(1000000, 1000000) and data type float64"
        ),
    ),
    (K.HOST_OUT_OF_MEMORY, "RuntimeError: DataLoader worker (pid 4242) is killed by signal: Killed. "),
    (
        K.HOST_OUT_OF_MEMORY,
        (
            "ERROR: Unexpected bus error encountered in worker. "
            "This might be caused by insufficient shared memory (shm)."
        ),
    ),
    (K.CRASHED, "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
    (K.CRASHED, "RuntimeError: CUDA error: device-side assert triggered"),
    (K.CRASHED, "RuntimeError: CUDA error: unspecified launch failure"),
    (K.CRASHED, "RuntimeError: CUDA error: uncorrectable ECC error encountered"),
    (K.NOT_A_NUMBER, "Loss is nan, stopping training"),
    (K.NOT_A_NUMBER, "RuntimeError: Function 'MulBackward0' returned nan values in its 0th output."),
    # errors of the kernel, as reported by Python and Rust
    (K.DISK_FULL, "OSError: [Errno 28] No space left on device: 'my-lora-000004.safetensors'"),
    (K.DISK_FULL, "OSError: [Errno 122] Disk quota exceeded"),
    (
        K.DISK_FULL,
        "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
    ),
    (
        K.DISK_FULL,
        (
            "error: the state cat-000004-state could not be saved: [enforce fail at inline_container.cc:672] . "
            "unexpected pos 576 vs 534; earlier states are intact"
        ),
    ),
    (K.MISSING_FILE, "FileNotFoundError: [Errno 2] No such file or directory: '/m/ae.sft'"),
    (K.MISSING_FILE, "/usr/bin/python3: can't open file '/x/captions.py': [Errno 2] No such file or directory"),
    # our trainer
    (K.MISSING_FILE, "error: --ae: there is no file /m/ae.sft"),
    (K.DISK_FULL, "error: --output_dir: /home/outputs/cat cannot be written: No space left on device"),
    (
        K.BAD_DATASET,
        "error: the picture /d/cat.png is damaged or not a picture: replace it or remove it from the dataset",
    ),
    (K.BAD_DATASET, "error: the dataset is empty: no picture (.png .jpg .jpeg .webp .bmp) in /d"),
    (K.BAD_DATASET, "error: the caption file /d/cat.txt is not UTF-8 text: save it as UTF-8"),
    (K.BAD_SETTING, "error: --optimizer_args: AdamW rejected them: Invalid beta parameter at index 0: 2.0"),
    (K.BAD_SETTING, "error: argument --network_dim: x is not a whole number of at least 1"),
    # sd-scripts
    (
        K.BAD_DATASET,
        "ERROR    No data found. Please verify arguments (train_data_dir must be the parent of folders with images)",
    ),
    (K.BAD_DATASET, "PIL.UnidentifiedImageError: cannot identify image file '/d/cat.png'"),
    (K.BAD_DATASET, "OSError: image file is truncated (19 bytes not processed)"),
    (K.BAD_SETTING, "flux_train_network.py: error: unrecognized arguments: --moon_phase full"),
    (
        K.BAD_SETTING,
        "flux_train_network.py: error: argument --loss_type: invalid choice: 'l3' (choose from 'l1', 'l2', 'huber')",
    ),
    (K.BAD_SETTING, "voluptuous.error.MultipleInvalid: extra keys not allowed @ data['datasets'][0]['colour']"),
    # lines that don't tell the cause
    (K.OTHER, "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x8 and 16x4)"),
    (K.OTHER, "steps:  20%|##        | 2/10 [00:04<00:16,  2.00s/it, avr_loss=0.413]"),
    (K.OTHER, "loading the model: 3 files, no picture is cached yet"),
    (K.OTHER, ""),
]


@pytest.mark.parametrize(("kind", "line"), LINES)
def test_each_line_reveals_its_kind_wherever_it_appears(kind: FailureKind, line: str) -> None:
    assert classify(FAILED, line, refusal_status=2) is kind
    assert classify(FAILED, f"steps: 1/10\nsteps: 2/10\n{line}\nnothing more to say\n", refusal_status=2) is kind


@pytest.mark.parametrize(
    ("cause", "consequence", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", "FileNotFoundError: [Errno 2]", K.GPU_OUT_OF_MEMORY),
        ("OSError: [Errno 28] No space left on device", "error: argument --x: invalid choice", K.DISK_FULL),
        ("error: --clip_l: there is no file /m/c", "error: --clip_l", K.MISSING_FILE),
    ],
)
def test_a_cause_takes_precedence_over_its_consequences(cause: str, consequence: str, kind: FailureKind) -> None:
    assert classify(FAILED, f"{cause}\n{consequence}", refusal_status=2) is kind
    assert classify(FAILED, f"{consequence}\n{cause}", refusal_status=2) is kind


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (ExitRecord(kind="signaled", signal=signal.SIGKILL), K.KILLED),
        (ExitRecord(kind="signaled", signal=signal.SIGKILL, oom_kills=1), K.HOST_OUT_OF_MEMORY),
        (ExitRecord(kind="exited", code=1, oom_kills=2), K.HOST_OUT_OF_MEMORY),  # a worker was killed
        (ExitRecord(kind="signaled", signal=signal.SIGSEGV), K.CRASHED),
        (ExitRecord(kind="signaled", signal=signal.SIGABRT), K.CRASHED),
        (ExitRecord(kind="signaled", signal=signal.SIGBUS), K.CRASHED),
        (ExitRecord(kind="signaled", signal=signal.SIGILL), K.CRASHED),
        (ExitRecord(kind="signaled", signal=signal.SIGFPE), K.CRASHED),
        (ExitRecord(kind="signaled", signal=signal.SIGHUP), K.OTHER),
        (ExitRecord(kind="exited", code=2), K.BAD_SETTING),
        (ExitRecord(kind="exited", code=1), K.OTHER),
        (ExitRecord(kind="exited", code=0), K.OTHER),
        (ExitRecord(kind="exited", code=137), K.OTHER),  # an exit status of the program's own, not a signal
        (ExitRecord(kind="exec-failed", errno=errno.ENOENT), K.MISSING_FILE),
        (ExitRecord(kind="exec-failed", errno=errno.EACCES), K.BAD_SETTING),
        (ExitRecord(kind="exec-failed", errno=errno.ENOEXEC), K.BAD_SETTING),
        (ExitRecord(kind="exec-failed", errno=errno.ENOSPC), K.DISK_FULL),
        (ExitRecord(kind="exec-failed", errno=errno.ENOMEM), K.HOST_OUT_OF_MEMORY),
        (ExitRecord(kind="exec-failed", errno=errno.EIO), K.OTHER),
        (ExitRecord(kind="exec-failed"), K.OTHER),
        (ExitRecord(kind="exited", code=1, disk_full=True), K.DISK_FULL),
        (ExitRecord(kind="signaled", signal=signal.SIGBUS, disk_full=True), K.DISK_FULL),
        (ExitRecord(kind="signaled", signal=signal.SIGKILL, disk_full=True), K.KILLED),
        (ExitRecord(kind="signaled", signal=signal.SIGSEGV, disk_full=True), K.CRASHED),
    ],
)
def test_the_exit_decides_if_no_line_does(record: ExitRecord, kind: FailureKind) -> None:
    assert classify(record, "steps: 2/10", refusal_status=2) is kind


def test_a_line_takes_precedence_over_the_exit() -> None:
    full = "OSError: [Errno 28] No space left on device"
    assert classify(ExitRecord(kind="exited", code=2), full, refusal_status=2) is K.DISK_FULL
    assert classify(ExitRecord(kind="signaled", signal=signal.SIGABRT), full, refusal_status=2) is K.DISK_FULL
    # The kernel's count of OOM kills outweighs any line.
    assert classify(ExitRecord(kind="exited", code=1, oom_kills=1), full, refusal_status=2) is K.HOST_OUT_OF_MEMORY


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {FailureKind.UNKNOWN}))
def test_each_kind_has_one_line_of_advice(kind: FailureKind) -> None:
    line = advice(kind, name="my-lora")
    assert line.endswith(".")
    assert "\n" not in line
    assert len(line) < 220


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {FailureKind.UNKNOWN}))
def test_each_command_in_a_piece_of_advice_is_complete(kind: FailureKind) -> None:
    for command in re.findall(r"`fluxgymctl ([^`]*)`", advice(kind, name="my-lora")):
        assert command in ("gpus", "logs my-lora", "resume my-lora", "edit my-lora")


def test_exit_status_2_has_a_meaning_only_for_the_trainer() -> None:
    record = ExitRecord(kind="exited", code=2)
    assert classify(record, "", refusal_status=2) is K.BAD_SETTING
    assert classify(record, "", refusal_status=None) is K.OTHER
