# SPDX-License-Identifier: Apache-2.0
"""Whether blocks are compiled and how, as the command line asks for it and as a state records it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Self

from library.options.options import COMPILE_BACKENDS, COMPILE_MODES, Options

NO = "no"
DEFAULT_MODE = COMPILE_MODES[0]
SYMBOLIC = "symbolic"
# Estimated: compiling for a size takes about half a minute on a large GPU, and saves 50 to 150 ms a step.
STEPS_THAT_PAY = 200


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """How blocks are compiled. `symbolic`: one graph for all sizes."""

    backend: str = "inductor"
    mode: str = DEFAULT_MODE
    symbolic: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """The inverse of `str`."""
        backend, *rest = text.split(":")
        symbolic = SYMBOLIC in rest
        mode = next((word for word in rest if word != SYMBOLIC), DEFAULT_MODE)
        return cls(backend=backend, mode=mode, symbolic=symbolic)

    def __str__(self) -> str:
        """The choice as a state records it: `inductor`, `inductor:max-autotune`, `aot_eager:symbolic`."""
        words = [self.backend]
        words += [self.mode] if self.mode != DEFAULT_MODE else []
        words += [SYMBOLIC] if self.symbolic else []
        return ":".join(words)


POSSIBLE = (
    NO,
    *(
        str(Compilation(backend=backend, mode=mode, symbolic=symbolic))
        for backend, mode, symbolic in product(COMPILE_BACKENDS, COMPILE_MODES, (False, True))
    ),
)
"""All values that a state may record."""


def asked(options: Options) -> str | None:
    """What the command line asks for, as a state records it; None if it asks for nothing."""
    if options.no_compile:
        return NO
    if not options.compile and not options.torch_compile:
        return None
    backend = options.compile_backend if options.compile else options.dynamo_backend
    symbolic = options.compile_dynamic == "true"
    return str(Compilation(backend=backend, mode=options.compile_mode, symbolic=symbolic))


def choose(*, gpu: bool, steps: int, sizes: int) -> str:
    """The default, as a state records it: compile on a GPU if the remaining steps make up for compiling each size.

    `sizes`: how many sizes of batches there are. On a CPU, compiling takes minutes and saves a quarter of a step.
    """
    return str(Compilation()) if gpu and steps >= STEPS_THAT_PAY * sizes else NO
