# SPDX-License-Identifier: Apache-2.0
"""The verdicts of the watchdog on a training."""

from fluxgymd.core.journal.records import Record


class Healthy(Record, frozen=True, kw_only=True, tag="healthy"):
    """Its work makes progress, or has not stood still for long."""


class Suspicious(Record, frozen=True, kw_only=True, tag="suspicious"):
    """Something is unusual, but the training may still be well."""

    why: str
    """One sentence."""
    since: float
    """Wall clock."""


class Stuck(Record, frozen=True, kw_only=True, tag="stuck"):
    """The training will not continue without help."""

    rule: str
    """The rule that found the hang: still, gpu_idle, progress, step, stopped or gpu_fault."""
    why: str
    """One sentence that names the limit."""
    since: float
    """Wall clock: when the rule's clock started."""
    evidence: tuple[str, ...]
    """What was seen, a sentence each."""


Verdict = Healthy | Suspicious | Stuck
