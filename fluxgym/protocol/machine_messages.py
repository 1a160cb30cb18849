# SPDX-License-Identifier: Apache-2.0
"""The types of org.fluxgym.Machine (see messages.py)."""

from fluxgym.protocol.messages import Message, OpenEnum


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
    power_limit: float | None = None
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


class DiskUseKind(OpenEnum):
    STATES = "states"
    LORAS = "loras"
    SAMPLES = "samples"
    PICTURES = "pictures"
    CACHES = "caches"
    MODELS = "models"
    LOGS = "logs"
    TRASH = "trash"
    EVIDENCE = "evidence"
    OTHER = "other"
    UNKNOWN = "unknown"


class JobUse(Message, frozen=True, kw_only=True):
    job: str
    size: int


class DiskUse(Message, frozen=True, kw_only=True):
    what: DiskUseKind
    size: int
    jobs: list[JobUse] | None = None


class Disk(Message, frozen=True, kw_only=True):
    path: str
    total: int
    free: int
    uses: list[DiskUse]
    measured_at: float | None = None


class MachineState(Message, frozen=True, kw_only=True):
    gpus: list[Gpu]
    gpu_problem: str | None = None
    disks: list[Disk]
    unanswered: list[str] | None = None
    queue_paused: bool
    waiting: int
    running: int
    degraded: list[str]
    version: str
    instance: str


class GpuSeries(Message, frozen=True, kw_only=True):
    uuid: str
    time: list[float]
    utilization: list[int | None]
    memory_used: list[int | None]
    temperature: list[int | None]
    power_draw: list[float | None]
