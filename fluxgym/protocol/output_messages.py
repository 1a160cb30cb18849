# SPDX-License-Identifier: Apache-2.0
"""The types of what a job has written (see messages.py)."""

from fluxgym.protocol.messages import Message, OpenEnum


class FileKind(OpenEnum):
    LORA = "lora"
    STATE = "state"
    SAMPLE = "sample"
    RESULT = "result"
    LOG = "log"
    METRICS = "metrics"
    SETTINGS = "settings"
    HISTORY = "history"
    EVIDENCE = "evidence"
    OTHER = "other"
    UNKNOWN = "unknown"


class JobFile(Message, frozen=True, kw_only=True):
    name: str
    kind: FileKind
    path: str
    size: int
    epoch: int | None = None
    step: int | None = None
    created_at: float


class Sample(Message, frozen=True, kw_only=True):
    file: str
    path: str
    prompt: str | None = None
    number: int
    seed: int | None = None
    epoch: int | None = None
    step: int | None = None
    size: int
    created_at: float


class Measurements(Message, frozen=True, kw_only=True):
    attempt: list[int]
    step: list[int]
    epoch: list[int | None]
    time: list[float]
    loss: list[float | None]
    mean: list[float | None]
    validation: list[float | None]
    rate: list[float | None]
    seconds_per_step: list[float | None]
    memory: list[int | None]
    not_finite: list[int]


class LogMatch(Message, frozen=True, kw_only=True):
    offset: int
    line: int | None = None
    text: str
