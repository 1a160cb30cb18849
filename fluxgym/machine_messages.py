# SPDX-License-Identifier: Apache-2.0
"""The types of org.fluxgym.Machine (see messages.py)."""

from fluxgym.messages import Message, OpenEnum


class Supervisor(OpenEnum):
    SCOPE = "scope"
    PROCESS = "process"
    UNKNOWN = "unknown"


class Linger(OpenEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    UNKNOWN = "unknown"


class SleepInhibitor(OpenEnum):
    HELD = "held"
    NOT_NEEDED = "not_needed"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


class Gpu(Message, frozen=True, kw_only=True):
    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilization: int | None = None
    temperature: int | None = None
    power_draw: float | None = None
    job: str | None = None
    put_aside: str | None = None


class Setting(Message, frozen=True, kw_only=True):
    key: str
    value: str
    default: str
    source: str
    variable: str
    about: str | None = None


class CheckOutcome(OpenEnum):
    GOOD = "good"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class CheckResult(Message, frozen=True, kw_only=True):
    name: str
    outcome: CheckOutcome
    text: str
    remedy: str | None = None
    command: str | None = None


class HookResult(Message, frozen=True, kw_only=True):
    hook: str
    problem: str | None = None
    status: int | None = None
    output: str
    seconds: float
