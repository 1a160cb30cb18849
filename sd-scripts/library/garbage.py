# SPDX-License-Identifier: Apache-2.0
"""Keeps Python's garbage collector from searching through imported modules. No torch.

torch, transformers and diffusers make about a million objects, which stay until the process ends. While they are
imported the collector searches through them again and again, and once more at exit: a third of the CPU time of a
short run (docs/decisions/0106-a-cheaper-test-run.md).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator


def off() -> None:
    """Turns the collector off, and makes the exit cheap: what exists then is not searched for cycles."""
    gc.disable()
    atexit.register(gc.freeze)


def on() -> None:
    """Turns the collector on; it ignores what exists now. Call this before a model is built: a model that is now part
    of a cycle would never be freed."""
    gc.freeze()
    gc.enable()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Turns the collector off within the context, for imports."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
