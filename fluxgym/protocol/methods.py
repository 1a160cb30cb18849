# SPDX-License-Identifier: Apache-2.0
"""The methods of the interfaces: their parameters, their replies, and whether they are streams. Those of
org.fluxgym.Datasets are in dataset_methods.py, those of org.fluxgym.Machine in machine_methods.py, and some of
org.fluxgym.Jobs in steering_methods.py and output_methods.py.

The server dispatches with these tables, and the client takes the types of replies from them. Apart from the interface
files, only these modules name the methods.
"""

from typing import Generic, TypeVar

import msgspec

from fluxgym.protocol.messages import (
    Checkpoint,
    Context,
    Job,
    Message,
    Phase,
    Preset,
    RemovedJob,
    Revision,
    RunningLimit,
    TrainerOption,
    Verdict,
    WatchdogMode,
)
from fluxgym.protocol.plan_messages import JobPlan, PlannedBucket, PlannedPicture

Parameters = TypeVar("Parameters", bound=Message)
Reply = TypeVar("Reply", bound=Message)


class Method(msgspec.Struct, Generic[Parameters, Reply], frozen=True):
    """One method: its full name, and the types of its parameters and its replies."""

    name: str
    parameters: type[Parameters]
    reply: type[Reply]
    stream: bool = False

    @property
    def interface(self) -> str:
        return self.name.rpartition(".")[0]


class Nothing(Message, frozen=True, kw_only=True):
    """No parameters, or a reply that only confirms the call."""


class JobName(Message, frozen=True, kw_only=True):
    name: str


class OneJob(Message, frozen=True, kw_only=True):
    job: Job


class SubmitParameters(Message, frozen=True, kw_only=True):
    job: Context


class SubmitReply(Message, frozen=True, kw_only=True):
    job: Job
    warnings: list[str]


class PlanReply(Message, frozen=True, kw_only=True):
    bucket: PlannedBucket | None = None
    picture: PlannedPicture | None = None
    plan: JobPlan | None = None


class ListParameters(Message, frozen=True, kw_only=True):
    limit: int | None = None
    before: str | None = None


class ListReply(Message, frozen=True, kw_only=True):
    job: Job | None = None


class LogsParameters(Message, frozen=True, kw_only=True):
    name: str
    offset: int | None = None
    follow: bool | None = None
    limit: int | None = None


class LogsReply(Message, frozen=True, kw_only=True):
    text: str
    offset: int
    missing: int | None = None


class WatchParameters(Message, frozen=True, kw_only=True):
    name: str | None = None
    since: Revision | None = None
    limit: int | None = None


class WatchReply(Message, frozen=True, kw_only=True):
    revision: Revision
    job: Job | None = None
    removed: str | None = None


class StopParameters(Message, frozen=True, kw_only=True):
    name: str
    after_checkpoint: bool | None = None


class ResumeParameters(Message, frozen=True, kw_only=True):
    name: str
    assume_gone: bool | None = None


class ChangedJob(Message, frozen=True, kw_only=True):
    job: Job
    warnings: list[str] | None = None


class MoveParameters(Message, frozen=True, kw_only=True):
    name: str
    before: str | None = None


class AnnotateParameters(Message, frozen=True, kw_only=True):
    name: str
    group: str | None = None
    tags: list[str] | None = None
    note: str | None = None
    best: str | None = None


class RemoveParameters(Message, frozen=True, kw_only=True):
    name: str
    now: bool | None = None


class RemoveReply(Message, frozen=True, kw_only=True):
    removed: str | None = None


class RemovedReply(Message, frozen=True, kw_only=True):
    job: RemovedJob | None = None


class PruneStatesParameters(Message, frozen=True, kw_only=True):
    name: str
    keep: int


class PruneStatesReply(Message, frozen=True, kw_only=True):
    removed: list[str]
    freed: int


class HistoryReply(Message, frozen=True, kw_only=True):
    at: float | None = None
    text: str | None = None


class WatchdogReply(Message, frozen=True, kw_only=True):
    mode: WatchdogMode
    verdict: Verdict
    why: str | None = None
    since: float | None = None
    phase: Phase | None = None
    explanation: list[str]
    limits: list[RunningLimit]
    until: float | None = None
    then: WatchdogMode | None = None


class CheckpointsReply(Message, frozen=True, kw_only=True):
    checkpoints: list[Checkpoint]


class TrainerOptionsReply(Message, frozen=True, kw_only=True):
    options: list[TrainerOption]
    problem: str | None = None


class PresetsParameters(Message, frozen=True, kw_only=True):
    name: str | None = None


class PresetsReply(Message, frozen=True, kw_only=True):
    preset: Preset | None = None


class SavePresetParameters(Message, frozen=True, kw_only=True):
    settings: Context
    about: str | None = None
    like: str | None = None
    presets: list[str] | None = None
    replace: bool | None = None


class OnePreset(Message, frozen=True, kw_only=True):
    preset: Preset


class ComposeParameters(Message, frozen=True, kw_only=True):
    job: Context
    presets: list[str] | None = None
    like: str | None = None
    base: Context | None = None
    more_epochs: int | None = None


class ComposeReply(Message, frozen=True, kw_only=True):
    job: Context
    notes: list[str]


class ConvertParameters(Message, frozen=True, kw_only=True):
    text: str
    folder: str


class ConvertReply(Message, frozen=True, kw_only=True):
    job: Context
    program: str
    notes: list[str]


class ExportParameters(Message, frozen=True, kw_only=True):
    name: str
    folder: str
    format: str | None = None


class ExportReply(Message, frozen=True, kw_only=True):
    notes: list[str]


class GetInfoReply(Message, frozen=True, kw_only=True):
    vendor: str
    product: str
    version: str
    url: str
    interfaces: list[str]


class GetInterfaceDescriptionParameters(Message, frozen=True, kw_only=True):
    interface: str


class GetInterfaceDescriptionReply(Message, frozen=True, kw_only=True):
    description: str


SUBMIT = Method("org.fluxgym.Jobs.Submit", SubmitParameters, SubmitReply)
PLAN = Method("org.fluxgym.Jobs.Plan", SubmitParameters, PlanReply, stream=True)
LIST = Method("org.fluxgym.Jobs.List", ListParameters, ListReply, stream=True)
DESCRIBE = Method("org.fluxgym.Jobs.Describe", JobName, OneJob)
LOGS = Method("org.fluxgym.Jobs.Logs", LogsParameters, LogsReply, stream=True)
WATCH = Method("org.fluxgym.Jobs.Watch", WatchParameters, WatchReply, stream=True)
STOP = Method("org.fluxgym.Jobs.Stop", StopParameters, OneJob)
RESUME = Method("org.fluxgym.Jobs.Resume", ResumeParameters, ChangedJob)
HOLD = Method("org.fluxgym.Jobs.Hold", JobName, OneJob)
RELEASE = Method("org.fluxgym.Jobs.Release", JobName, OneJob)
MOVE = Method("org.fluxgym.Jobs.Move", MoveParameters, OneJob)
EDIT = Method("org.fluxgym.Jobs.Edit", SubmitParameters, ChangedJob)
ANNOTATE = Method("org.fluxgym.Jobs.Annotate", AnnotateParameters, OneJob)
HISTORY = Method("org.fluxgym.Jobs.History", JobName, HistoryReply, stream=True)
CHECKPOINTS = Method("org.fluxgym.Jobs.Checkpoints", JobName, CheckpointsReply)
WATCHDOG = Method("org.fluxgym.Jobs.Watchdog", JobName, WatchdogReply)
TRAINER_OPTIONS = Method("org.fluxgym.Jobs.TrainerOptions", Nothing, TrainerOptionsReply)
PRESETS = Method("org.fluxgym.Jobs.Presets", PresetsParameters, PresetsReply, stream=True)
SAVE_PRESET = Method("org.fluxgym.Jobs.SavePreset", SavePresetParameters, OnePreset)
REMOVE_PRESET = Method("org.fluxgym.Jobs.RemovePreset", JobName, Nothing)
COMPOSE = Method("org.fluxgym.Jobs.Compose", ComposeParameters, ComposeReply)
CONVERT = Method("org.fluxgym.Jobs.Convert", ConvertParameters, ConvertReply)
EXPORT = Method("org.fluxgym.Jobs.Export", ExportParameters, ExportReply)
REMOVE = Method("org.fluxgym.Jobs.Remove", RemoveParameters, RemoveReply)
PRUNE_STATES = Method("org.fluxgym.Jobs.PruneStates", PruneStatesParameters, PruneStatesReply)
RESTORE = Method("org.fluxgym.Jobs.Restore", JobName, OneJob)
REMOVED = Method("org.fluxgym.Jobs.Removed", Nothing, RemovedReply, stream=True)
GET_INFO = Method("org.varlink.service.GetInfo", Nothing, GetInfoReply)
GET_INTERFACE_DESCRIPTION = Method(
    "org.varlink.service.GetInterfaceDescription",
    GetInterfaceDescriptionParameters,
    GetInterfaceDescriptionReply,
)

INTERFACES = ("org.varlink.service", "org.fluxgym.Jobs", "org.fluxgym.Datasets", "org.fluxgym.Machine")
