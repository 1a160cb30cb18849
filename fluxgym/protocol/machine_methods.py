# SPDX-License-Identifier: Apache-2.0
"""Every method of org.fluxgym.Machine (see methods.py)."""

from fluxgym.protocol.machine_messages import (
    CheckResult,
    Gpu,
    GpuSeries,
    HookResult,
    Linger,
    MachineState,
    Setting,
    SleepInhibitor,
    Supervisor,
)
from fluxgym.protocol.messages import Message
from fluxgym.protocol.methods import Method, Nothing


class GpuName(Message, frozen=True, kw_only=True):
    gpu: str


class GpusReply(Message, frozen=True, kw_only=True):
    gpus: list[Gpu]
    problem: str | None = None


class InfoReply(Message, frozen=True, kw_only=True):
    version: str
    instance: str
    pid: int
    started_at: float
    home: str
    socket: str
    supervisor: Supervisor
    supervisor_reason: str
    linger: Linger
    sleep_inhibitor: SleepInhibitor
    sleep_inhibitor_reason: str | None = None
    queue_paused: bool | None = None
    loop_late: float | None = None
    degraded: list[str]
    jobs: dict[str, int]


class SettingsReply(Message, frozen=True, kw_only=True):
    settings: list[Setting]


class CheckMachineReply(Message, frozen=True, kw_only=True):
    check: CheckResult | None = None


class TestHookParameters(Message, frozen=True, kw_only=True):
    hook: str | None = None


class TestHookReply(Message, frozen=True, kw_only=True):
    result: HookResult | None = None
    problem: str | None = None


class WatchMachineParameters(Message, frozen=True, kw_only=True):
    measure: bool | None = None


class WatchMachineReply(Message, frozen=True, kw_only=True):
    state: MachineState


class GpuHistoryParameters(Message, frozen=True, kw_only=True):
    gpu: str | None = None
    after: float | None = None


class GpuHistoryReply(Message, frozen=True, kw_only=True):
    history: list[GpuSeries]


GPUS = Method("org.fluxgym.Machine.Gpus", Nothing, GpusReply)
INFO = Method("org.fluxgym.Machine.Info", Nothing, InfoReply)
PAUSE = Method("org.fluxgym.Machine.Pause", Nothing, Nothing)
CONTINUE = Method("org.fluxgym.Machine.Continue", Nothing, Nothing)
CLEAR_QUARANTINE = Method("org.fluxgym.Machine.ClearQuarantine", GpuName, Nothing)
SETTINGS = Method("org.fluxgym.Machine.Settings", Nothing, SettingsReply)
CHECK_MACHINE = Method("org.fluxgym.Machine.Check", Nothing, CheckMachineReply, stream=True)
TEST_HOOK = Method("org.fluxgym.Machine.TestHook", TestHookParameters, TestHookReply, stream=True)
WATCH_MACHINE = Method("org.fluxgym.Machine.Watch", WatchMachineParameters, WatchMachineReply, stream=True)
GPU_HISTORY = Method("org.fluxgym.Machine.GpuHistory", GpuHistoryParameters, GpuHistoryReply)
