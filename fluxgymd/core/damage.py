# SPDX-License-Identifier: Apache-2.0
"""What a damaged job may still hold (promises 4 and 8): in doubt its GPU is kept, and only an end that was recorded
frees it.

The events behind a bad line are no state of the job any more, but each of them was true when it was written.
"""

import re
from collections.abc import Iterable

import msgspec

from fluxgymd.core import events as e
from fluxgymd.core.job import Job

GPU_UUID = re.compile(rb"(?:GPU|MIG)-[0-9A-Za-z-]+")


def lease(before: Job | None, rest: Iterable[bytes]) -> tuple[str, ...] | None:
    """The GPUs that are to be kept (none of them: the CPU slot); None if nothing is held. `before`: the job up to the
    bad line; `rest`: that line and all that follow."""
    held = before.lease if before is not None else None
    for line in rest:
        try:
            event = e.decode(line)
        except msgspec.MsgspecError:
            named = [uuid.decode() for uuid in GPU_UUID.findall(line)]
            if named or b'"reserved"' in line:  # it may have been a reservation
                held = tuple(dict.fromkeys([*(held or ()), *named]))
            continue
        match event:
            case e.Reserved():
                held = tuple(event.gpus)
            case e.Spawned() | e.Placed() | e.Started() if held is None:
                held = ()  # its reservation is what was damaged
            case e.Ended() | e.Disowned():
                held = None
            case _:
                pass
    return held
