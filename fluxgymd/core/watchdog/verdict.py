# SPDX-License-Identifier: Apache-2.0
"""What the watchdog says of a training."""

from fluxgymd.core.records import Record


class Healthy(Record, frozen=True, kw_only=True, tag="healthy"):
    """Its work goes on, or has not been still for long."""


class Suspicious(Record, frozen=True, kw_only=True, tag="suspicious"):
    """Something is not as it should be, and may still be right."""

    why: str
    """One sentence."""
    since: float
    """Wall clock."""


class Stuck(Record, frozen=True, kw_only=True, tag="stuck"):
    """It will not go on by itself."""

    rule: str
    """Which rule found it: still, gpu_idle, progress, step, stopped or gpu_fault."""
    why: str
    """One sentence with the limit in it."""
    since: float
    """Wall clock: the last time at which its work went on."""
    evidence: tuple[str, ...]
    """What was seen, a sentence each."""


Verdict = Healthy | Suspicious | Stuck
