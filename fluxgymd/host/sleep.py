# SPDX-License-Identifier: Apache-2.0
"""Keeps the machine awake while a job holds a GPU, with logind's sleep inhibitor if that is allowed.

A closed lid must not interrupt a training at night. A machine without a running GPU job may sleep.
"""

import logging
import os
from collections.abc import Awaitable, Callable

from fluxgym.protocol.machine_messages import SleepInhibitor

log = logging.getLogger(__name__)

Inhibit = Callable[[str], Awaitable[int]]
"""Takes the inhibitor, given the reason that people will see. Returns the file descriptor that holds the inhibitor;
raises InhibitRefused."""


class InhibitRefused(Exception):
    """logind refused the inhibitor or did not answer. The text says why."""


class SleepGuard:
    def __init__(self, inhibit: Inhibit | None) -> None:
        self._inhibit = inhibit  # None: logind cannot be reached
        self._held: int | None = None
        self._refused: str | None = None
        self._needed = False

    @property
    def state(self) -> SleepInhibitor:
        if self._held is not None:
            return SleepInhibitor.HELD
        if self._inhibit is None:
            return SleepInhibitor.UNAVAILABLE
        return SleepInhibitor.REFUSED if self._refused is not None else SleepInhibitor.NOT_NEEDED

    @property
    def reason(self) -> str | None:
        """The reason of a refusal."""
        return self._refused

    async def update(self, *, needed: bool) -> None:
        """Takes or releases the inhibitor. After a refusal, asks again only when `needed` becomes true again."""
        begins = needed and not self._needed
        self._needed = needed
        if not needed:
            self._refused = None
            if self._held is not None:
                os.close(self._held)
                self._held = None
        elif begins and self._inhibit is not None and self._held is None:
            try:
                self._held = await self._inhibit("A LoRA is being trained")
            except InhibitRefused as error:
                self._refused = str(error)
                log.warning("the machine may go to sleep during the training: %s", error)
