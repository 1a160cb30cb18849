# SPDX-License-Identifier: Apache-2.0
"""A trace: a run, what must be said of it, and the reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fluxgymd.core.watchdog.limits import Limits
from tests.traces.simulator import Part, Run


@dataclass(frozen=True, kw_only=True)
class Trace:
    name: str
    reason: str
    """Why it must be judged so, one sentence."""
    run: Run = field(repr=False)
    rules: tuple[str, ...] = ()
    """Stuck: the rules that may find it."""
    within: float | None = None
    """Stuck: the limit, in seconds from the hang, by which it must be found. None: it is healthy."""
    limits: Limits = field(default_factory=Limits, repr=False)

    @property
    def healthy(self) -> bool:
        return self.within is None


Maker = Callable[[], Sequence[Part]]


@dataclass(kw_only=True)
class Catalogue:
    """Collects the scenarios of a module: each is a function that returns its parts, and whose docstring is the
    reason."""

    traces: list[Trace] = field(default_factory=list)

    def healthy(self, maker: Maker) -> Maker:
        self._add(maker)
        return maker

    def stuck(self, *rules: str, within: float) -> Callable[[Maker], Maker]:
        def add(maker: Maker) -> Maker:
            self._add(maker, rules=rules, within=within)
            return maker

        return add

    def _add(self, maker: Maker, *, rules: tuple[str, ...] = (), within: float | None = None) -> None:
        name = maker.__name__
        reason = " ".join((maker.__doc__ or "").split())
        self.traces.append(Trace(name=name, reason=reason, run=Run(name, maker()), rules=rules, within=within))
