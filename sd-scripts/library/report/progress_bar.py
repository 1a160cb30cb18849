# SPDX-License-Identifier: Apache-2.0
"""The `steps:` bar on stderr, in tqdm's format, which programs that read sd-scripts' output rely on."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm  # type: ignore[import-untyped]


class StepsBar:
    """`steps:  12%|#2  | 2/16 [00:11<01:22,  5.88s/it, avr_loss=2.69]`. After a resume, the bar starts at the steps
    done before."""

    def __init__(self, *, done: int, total: int) -> None:
        self._bar = tqdm(total=total, initial=done, desc="steps", smoothing=0, file=sys.stderr, mininterval=0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.refresh()
        self._bar.close()

    def step(self, average_loss: float) -> None:
        """Advances the bar by one step. Leaving the context always shows the last one."""
        self._bar.set_postfix_str(f"avr_loss={average_loss:.3g}", refresh=False)
        self._bar.update(1)

    def print(self, line: str) -> None:
        """Prints a line on stdout without breaking the bar."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
