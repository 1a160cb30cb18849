# SPDX-License-Identifier: Apache-2.0
"""The types of jobs, as msgspec structs, and the base of all types of the interfaces. Those of a plan are in
plan_messages.py, those of what a job has written in output_messages.py, those of datasets in dataset_messages.py, and
those of this machine in machine_messages.py.

The `.varlink` files in interfaces/ document every field; a test checks that the two agree. On the wire, names are
camelCase and an absent value is left out. An enum value that this version does not know decodes to `unknown`, so that
an older client can read a newer daemon's replies (promise 9).
"""

from enum import StrEnum
from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The base of all structs on the wire."""


class OpenEnum(StrEnum):
    """An enum that may grow: an unknown value becomes `unknown`, which is never sent."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls("unknown") if value != "unknown" else None


class State(OpenEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


class WaitingFor(OpenEnum):
    GPU = "gpu"
    START = "start"
    SUPERVISOR = "supervisor"
    HELD = "held"
    PAUSED = "paused"
    JOB = "job"
    BACK_OFF = "back_off"
    SLOT = "slot"
    HOME = "home"
    UNKNOWN = "unknown"


class Kind(OpenEnum):
    TRAINING = "training"
    PROGRAM = "program"
    UNKNOWN = "unknown"


class TriggerPlace(OpenEnum):
    FIRST = "first"
    MISSING = "missing"
    NONE = "none"
    UNKNOWN = "unknown"


class RestartPolicy(OpenEnum):
    NEVER = "never"
    ON_INTERRUPTION = "on_interruption"
    ON_FAILURE = "on_failure"
    UNKNOWN = "unknown"


class WatchdogMode(OpenEnum):
    OFF = "off"
    WARN = "warn"
    ACT = "act"
    UNKNOWN = "unknown"


class FailureKind(OpenEnum):
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    DISK_FULL = "disk_full"
    MISSING_FILE = "missing_file"
    BAD_DATASET = "bad_dataset"
    BAD_SETTING = "bad_setting"
    NOT_A_NUMBER = "not_a_number"
    KILLED = "killed"
    CRASHED = "crashed"
    NOT_RESUMABLE = "not_resumable"
    STUCK = "stuck"
    OTHER = "other"
    UNKNOWN = "unknown"


class ExitKind(OpenEnum):
    EXITED = "exited"
    SIGNALED = "signaled"
    NEVER_STARTED = "never_started"
    EXEC_FAILED = "exec_failed"
    UNKNOWN = "unknown"


class Phase(OpenEnum):
    STARTING = "starting"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    CACHING = "caching"
    TRAINING = "training"
    SAMPLING = "sampling"
    SAVING = "saving"
    FINISHING = "finishing"
    UNKNOWN = "unknown"


class Verdict(OpenEnum):
    HEALTHY = "healthy"
    SUSPICIOUS = "suspicious"
    STUCK = "stuck"
    NOT_WATCHED = "not_watched"
    UNKNOWN = "unknown"


class Model(Message, frozen=True, kw_only=True):
    transformer: str | None = None
    clip_l: str | None = None
    t5xxl: str | None = None
    autoencoder: str | None = None
    tokenizers: str | None = None


class Part(Message, frozen=True, kw_only=True):
    dataset: str
    repeats: int | None = None
    regularisation: bool | None = None
    caption: str | None = None
    folder: str | None = None


class ResumeFrom(Message, frozen=True, kw_only=True):
    job: str
    checkpoint: str | None = None


class Context(Message, frozen=True, kw_only=True):
    name: str
    kind: Kind | None = None
    dataset: str | None = None
    parts: list[Part] | None = None
    model: Model | None = None
    trigger_word: str | None = None
    trigger_place: TriggerPlace | None = None
    resolution: int | None = None
    resolutions: list[int] | None = None
    enable_bucket: bool | None = None
    repeats: int | None = None
    epochs: int | None = None
    save_every_epochs: int | None = None
    sample_every_steps: int | None = None
    sample_every_epochs: int | None = None
    sample_prompts: list[str] | None = None
    seed: int | None = None
    learning_rate: float | None = None
    network_dim: int | None = None
    trainer_options: dict[str, list[str]] | None = None
    program: list[str] | None = None
    priority: int | None = None
    held: bool | None = None
    after: list[str] | None = None
    gpus: list[str] | None = None
    gpu_count: int | None = None
    restart: RestartPolicy | None = None
    keep_states: int | None = None
    watchdog: WatchdogMode | None = None
    watchdog_limits: dict[str, float] | None = None
    resume_from: ResumeFrom | None = None


TWO_FORMS = (("dataset", "parts"), ("resolution", "resolutions"))
"""Settings with a form for one and a form for several. Where settings override others, either form replaces both."""


class OptionType(OpenEnum):
    SWITCH = "switch"
    WHOLE_NUMBER = "whole_number"
    NUMBER = "number"
    PATH = "path"
    TEXT = "text"
    UNKNOWN = "unknown"


class TrainerOption(Message, frozen=True, kw_only=True):
    name: str
    group: str | None = None
    help: str | None = None
    type: OptionType
    repeated: bool
    choices: list[str] | None = None
    default: list[str] | None = None
    passed: list[str] | None = None
    instead: str | None = None


class Preset(Message, frozen=True, kw_only=True):
    settings: Context
    about: str | None = None
    why: dict[str, str]
    shipped: bool
    problem: str | None = None


class Exit(Message, frozen=True, kw_only=True):
    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    term_seen: bool
    endings_seen: list[int] | None = None


class Attempt(Message, frozen=True, kw_only=True):
    number: int
    adapter: str
    unit: str
    pid: int | None = None
    gpus: list[str]
    resumed_from: str | None = None
    started_at: float
    ended_at: float | None = None
    exit: Exit | None = None


class Progress(Message, frozen=True, kw_only=True):
    phase: Phase
    done: int | None = None
    total: int | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    total_epochs: int | None = None
    loss: float | None = None
    average_loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    remaining_seconds: float | None = None
    updated_at: float


class Failure(Message, frozen=True, kw_only=True):
    kind: FailureKind
    advice: str


class Judgement(Message, frozen=True, kw_only=True):
    verdict: Verdict
    why: str | None = None
    since: float | None = None


class GpuReading(Message, frozen=True, kw_only=True):
    index: int
    uuid: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilization: int | None = None
    temperature: int | None = None
    power_draw: float | None = None
    power_limit: float | None = None
    lost: bool


class RunningLimit(Message, frozen=True, kw_only=True):
    rule: str
    what: str
    limit: float
    left: float


class Slow(Message, frozen=True, kw_only=True):
    since: float
    seconds_per_step: float
    usual: float


class Runtime(Message, frozen=True, kw_only=True):
    id: str
    state: State
    waiting_for: WaitingFor | None = None
    reason: str | None = None
    failure: Failure | None = None
    advice: str | None = None
    not_before: float | None = None
    queue_place: int | None = None
    submitted_at: float
    home: str
    attempt: Attempt | None = None
    progress: Progress | None = None
    steps_lost: int
    result: str | None = None
    watchdog: Judgement | None = None
    gpus: list[GpuReading] | None = None
    restarts: int | None = None
    restarts_allowed: int | None = None
    energy: float | None = None
    slow: Slow | None = None
    can_save: bool | None = None
    can_sample: bool | None = None


class Annotation(Message, frozen=True, kw_only=True):
    group: str | None = None
    tags: list[str]
    note: str | None = None
    best: str | None = None


class Job(Message, frozen=True, kw_only=True):
    context: Context
    runtime: Runtime
    annotation: Annotation | None = None


class RemovedJob(Message, frozen=True, kw_only=True):
    name: str
    id: str
    removed_at: float
    deleted_at: float
    size: int


class Checkpoint(Message, frozen=True, kw_only=True):
    name: str
    path: str
    epoch: int | None = None
    step: int | None = None
    complete: bool
    problem: str | None = None
    size: int
    created_at: float


class Revision(Message, frozen=True, kw_only=True):
    instance: str
    number: int
