# SPDX-License-Identifier: Apache-2.0
"""A trace: a run, how it must be judged, and the reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fluxgymd.core.watchdog.limits import Limits
from tests.core.watchdog.usual import USUAL
from tests.traces.simulator import Part, Run


@dataclass(frozen=True, kw_only=True)
class Trace:
    name: str
    reason: str
    """Why the run must be judged so, in one sentence."""
    run: Run = field(repr=False)
    rules: tuple[str, ...] = ()
    """For a hang: the rules that may find it."""
    within: float | None = None
    """For a hang: the limit, in seconds from the hang, by which it must be found. None: the run is healthy."""
    limits: Limits = field(default=USUAL, repr=False)
    needs_nvml: bool = False
    """The run is healthy but only its GPU moves. Without NVML it cannot be told from a hang."""

    @property
    def healthy(self) -> bool:
        return self.within is None


Maker = Callable[[], Sequence[Part]]


@dataclass(kw_only=True)
class Catalogue:
    """Collects the runs of a module. Each is a function that returns the parts, and its docstring is the reason."""

    traces: list[Trace] = field(default_factory=list)

    def healthy(self, maker: Maker) -> Maker:
        self._add(maker)
        return maker

    def healthy_by_its_gpu(self, maker: Maker) -> Maker:
        """Adds a healthy run that cannot be told from a hang without NVML."""
        self._add(maker, needs_nvml=True)
        return maker

    def stuck(self, *rules: str, within: float) -> Callable[[Maker], Maker]:
        def add(maker: Maker) -> Maker:
            self._add(maker, rules=rules, within=within)
            return maker

        return add

    def _add(self, maker: Maker, **facts: Any) -> None:
        name = maker.__name__
        reason = " ".join((maker.__doc__ or "").split())
        self.traces.append(Trace(name=name, reason=reason, run=Run(name, maker()), **facts))
