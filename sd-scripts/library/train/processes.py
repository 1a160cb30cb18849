# SPDX-License-Identifier: Apache-2.0
"""How the processes of one training communicate. With one process, nothing is sent and nothing waits.

Each process has the complete model, the complete LoRA and its own share of every step's batches. Once per step they
add up their gradients, so the weights stay the same everywhere (docs/decisions/0053-several-processes.md).

Everything else goes over a second group, of gloo on the CPU, so that no process waits for a GPU. Its timeout is 30
days, which is no limit in practice: the other processes wait in it while the first one saves, samples or encodes. The
GPUs' own group would end the run after ten minutes, so all processes meet on the CPU before they use it. A process
that ends closes its connections, which ends the waits of the others.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, distributed

from library import environment
from library.errors import TrainerError
from library.signals import StopRequest
from library.world import World

NO_LIMIT = datetime.timedelta(days=30)
# NCCL reaches its full rate with much less. A bucket is copied while it is added up, so a larger one costs memory.
BUCKET_BYTES = 64 * 2**20

T = TypeVar("T")


def start_accelerator(world: World, *, mixed_precision: str) -> Accelerator:
    """Connects all processes and returns the accelerator of this process's device.

    Raises TrainerError if there is not a device for each process.
    """
    if world.count > 1:
        # All processes are on this machine, and the address of its host name may be unreachable.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        _check_devices(world)
    with _in_touch():
        accelerator = Accelerator(mixed_precision=mixed_precision)
    if accelerator.num_processes != world.count:
        raise TrainerError(
            f"{world.count} processes were started, but this machine has no GPU for them: start one, or set "
            "ACCELERATE_USE_CPU=true to train with all of them on the CPU"
        )
    return accelerator


def _check_devices(world: World) -> None:
    found = torch.cuda.device_count()
    if found and found < world.count and not environment.wants_cpu():
        visible = "1 GPU is visible" if found == 1 else f"{found} GPUs are visible"
        raise TrainerError(
            f"{world.count} processes were started, but only {visible} (CUDA_VISIBLE_DEVICES may hide others): use "
            f"--num_processes {found}"
        )


class Processes:
    """All processes of this training, as seen by one of them. All must call the same methods in the same order.

    The methods raise TrainerError if another process has ended.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        """That of this process's device."""
        self.count: int = accelerator.num_processes
        self.rank: int = accelerator.process_index
        self.first = self.rank == 0
        self._control = None
        if self.count > 1:
            with _in_touch():
                self._control = distributed.new_group(backend="gloo", timeout=NO_LIMIT)

    def of_first(self, value: T) -> T:
        """The first process's value."""
        if self.count == 1:
            return value
        held = [value]
        with _in_touch():
            distributed.broadcast_object_list(held, src=0, group=self._control)
        return held[0]

    def of_any(self, *, own: bool) -> bool:
        """Whether `own` is true in at least one process."""
        return bool(self._greatest([int(own)])[0])

    def wait(self) -> None:
        """Waits until all processes have called this."""
        self._greatest([0])

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process runs the block, then the others do, which find the first one's files."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def agree_to_stop(self, stop: StopRequest) -> bool:
        """Whether any process was asked to stop. If so, `stop` says it in all of them afterwards.

        If the other processes have ended, a process that was itself asked to stop gets True, not an error.
        """
        try:
            (agreed,) = self._greatest([stop.signum])
        except TrainerError:
            if not stop.requested:
                raise
            return True
        stop.join(agreed)
        return agreed != 0

    @torch.no_grad()
    def add_up(self, parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Replaces each gradient by its sum over all processes and returns the sum of `loss`, a scalar on the device.

        A parameter for which no process has a gradient gets none, as if one process had done all the work. Nothing is
        read back from the device.
        """
        if self.count == 1:
            return loss
        held = list(parameters)
        somewhere = self._greatest([int(parameter.grad is not None) for parameter in held])
        summed = [loss]
        for parameter, has_gradient in zip(held, somewhere, strict=True):
            if has_gradient:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                summed.append(parameter.grad)
        for bucket in buckets(summed, most_bytes=BUCKET_BYTES):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            with _in_touch():
                distributed.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            torch._foreach_copy_(bucket, [part.view_as(tensor) for part, tensor in zip(parts, bucket, strict=True)])
        return loss

    def close(self) -> None:
        """At the end of a training: waits for all processes and destroys the groups. If gloo's groups still exist at
        exit, one exit in ten ends with SIGABRT ("terminate called without an active exception"). So this object must
        not hold one either: nothing is collected at exit (`garbage`)."""
        if self.count > 1:
            self.wait()
            self._control = None
            distributed.destroy_process_group()

    def leave(self) -> None:
        """Like `close`, before an exit that all have agreed on. It is no error if the others have already ended."""
        with contextlib.suppress(TrainerError):
            self.close()

    def _greatest(self, numbers: Sequence[int]) -> list[int]:
        """The maximum of each number (0 to 255) over all processes."""
        if self.count == 1:
            return list(numbers)
        held = torch.tensor(numbers, dtype=torch.uint8)  # signals and switches
        with _in_touch():
            distributed.all_reduce(held, op=distributed.ReduceOp.MAX, group=self._control)
        return held.tolist()


def buckets(tensors: Iterable[Tensor], *, most_bytes: int) -> Iterator[list[Tensor]]:
    """The tensors in their order, in lists of up to `most_bytes`; a larger tensor gets its own list."""
    found: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if found and size + tensor.nbytes > most_bytes:
            yield found
            found, size = [], 0
        found.append(tensor)
        size += tensor.nbytes
    if found:
        yield found


@contextlib.contextmanager
def _in_touch() -> Iterator[None]:
    """Turns the RuntimeError that torch raises when another process has ended into a TrainerError."""
    try:
        yield
    except RuntimeError as error:
        raise TrainerError(
            "another process of this training has ended, and its output says why; the states saved before are intact "
            f"(reported here as: {str(error).splitlines()[0]})"
        ) from error
