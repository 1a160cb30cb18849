# SPDX-License-Identifier: Apache-2.0
"""The adapters that this daemon has for attempts, and the place where it runs them."""

from dataclasses import dataclass

from fluxgymd.attempts.port import Adapter
from fluxgymd.core.job import Attempt
from fluxgymd.core.journal.records import Place
from fluxgymd.core.lost import Reach


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptAdapters:
    by_name: dict[str, Adapter]
    chosen: str
    """The name of the adapter for new attempts."""
    here: Place

    @property
    def for_new(self) -> Adapter:
        return self.by_name[self.chosen]

    def of(self, attempt: Attempt) -> Adapter | None:
        """The adapter that runs the attempt; None if this version of FluxGym does not know it."""
        return self.by_name.get(attempt.adapter)

    def reach(self, attempt: Attempt) -> Reach:
        """Whether the attempt can be looked at from here."""
        if attempt.adapter not in self.by_name:
            return Reach.UNKNOWN_ADAPTER
        return Reach.HERE if attempt.place == self.here else Reach.ELSEWHERE
