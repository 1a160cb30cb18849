# SPDX-License-Identifier: Apache-2.0
"""Every error of the interface: its name on the wire, one sentence for people, one exit status.

    FluxgymError
    ├── ServiceError              org.varlink.service.*: the call itself was wrong
    │   ├── InterfaceNotFound  MethodNotFound  InvalidParameter  ExpectedMore  PermissionDenied
    ├── InvalidName  NameTaken  InvalidSetting  InvalidDataset  FileMissing  NotEnoughSpace
    ├── NoSuchPreset  PresetFixed  PathTaken
    ├── NoSuchJob  WrongState  JobDamaged  StorageFailed  InternalError  NotPutAside  Overloaded
    ├── NoSuchDataset  NoSuchPicture  NoSuchChange  InvalidValue  NothingToUndo  StaleChange  DatasetDamaged
    ├── DaemonUnreachable         no daemon answered (never on the wire)
    │   ├── AnswerMissing         one did, and went away: what was asked of it may be done
    │   └── Leaving               one did that is being stopped, and it has not begun with the call
    ├── ConfigInvalid             a wrong setting of a program itself (never on the wire)
    └── UnknownError              an error of a newer daemon that this version has no class for

The exit statuses: 1 other, 2 bad input, 3 no such job or dataset, 4 not possible in this state, 5 the machine
refuses (disk), 6 no daemon.
"""

from typing import Any, ClassVar


class FluxgymError(Exception):
    """The root. `message` is one sentence; `fields` are the typed parameters of the error on the wire."""

    wire_name: ClassVar[str] = ""
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def parameters(self) -> dict[str, Any]:
        """The error's parameters on the wire."""
        return {**self.fields, "message": self.message}


class ServiceError(FluxgymError):
    """An error of org.varlink.service. The protocol fixes its fields, so it has no `message` on the wire."""

    exit_status = 2

    def parameters(self) -> dict[str, Any]:
        return self.fields


class InterfaceNotFound(ServiceError):
    wire_name = "org.varlink.service.InterfaceNotFound"


class MethodNotFound(ServiceError):
    wire_name = "org.varlink.service.MethodNotFound"


class InvalidParameter(ServiceError):
    wire_name = "org.varlink.service.InvalidParameter"


class ExpectedMore(ServiceError):
    wire_name = "org.varlink.service.ExpectedMore"


class PermissionDenied(ServiceError):
    wire_name = "org.varlink.service.PermissionDenied"
    exit_status = 1


class InvalidName(FluxgymError):
    wire_name = "org.fluxgym.Jobs.InvalidName"
    exit_status = 2


class NameTaken(FluxgymError):
    wire_name = "org.fluxgym.Jobs.NameTaken"
    exit_status = 4


class InvalidSetting(FluxgymError):
    wire_name = "org.fluxgym.Jobs.InvalidSetting"
    exit_status = 2


class InvalidDataset(FluxgymError):
    wire_name = "org.fluxgym.Jobs.InvalidDataset"
    exit_status = 2


class FileMissing(FluxgymError):
    wire_name = "org.fluxgym.Jobs.FileNotFound"
    exit_status = 2


class NotEnoughSpace(FluxgymError):
    wire_name = "org.fluxgym.Jobs.NotEnoughSpace"
    exit_status = 5


class NoSuchJob(FluxgymError):
    wire_name = "org.fluxgym.Jobs.NoSuchJob"
    exit_status = 3


class WrongState(FluxgymError):
    wire_name = "org.fluxgym.Jobs.WrongState"
    exit_status = 4


class JobDamaged(FluxgymError):
    wire_name = "org.fluxgym.Jobs.JobDamaged"
    exit_status = 4


class NoSuchPreset(FluxgymError):
    wire_name = "org.fluxgym.Jobs.NoSuchPreset"
    exit_status = 2


class PresetFixed(FluxgymError):
    wire_name = "org.fluxgym.Jobs.PresetFixed"
    exit_status = 4


class PathTaken(FluxgymError):
    wire_name = "org.fluxgym.Jobs.PathTaken"
    exit_status = 4


class StorageFailed(FluxgymError):
    wire_name = "org.fluxgym.Jobs.StorageFailed"
    exit_status = 5


class NoSuchDataset(FluxgymError):
    wire_name = "org.fluxgym.Datasets.NoSuchDataset"
    exit_status = 3


class NoSuchPicture(FluxgymError):
    wire_name = "org.fluxgym.Datasets.NoSuchPicture"
    exit_status = 3


class NoSuchChange(FluxgymError):
    wire_name = "org.fluxgym.Datasets.NoSuchChange"
    exit_status = 3


class InvalidValue(FluxgymError):
    wire_name = "org.fluxgym.Datasets.InvalidValue"
    exit_status = 2


class NothingToUndo(FluxgymError):
    wire_name = "org.fluxgym.Datasets.NothingToUndo"
    exit_status = 4


class StaleChange(FluxgymError):
    wire_name = "org.fluxgym.Datasets.StaleChange"
    exit_status = 4


class DatasetDamaged(FluxgymError):
    wire_name = "org.fluxgym.Datasets.DatasetDamaged"
    exit_status = 4


class InternalError(FluxgymError):
    wire_name = "org.fluxgym.Machine.InternalError"


class NotPutAside(FluxgymError):
    wire_name = "org.fluxgym.Machine.NotPutAside"
    exit_status = 4


class Overloaded(FluxgymError):
    wire_name = "org.fluxgym.Machine.Overloaded"


class DaemonUnreachable(FluxgymError):
    exit_status = 6


class AnswerMissing(DaemonUnreachable):
    """The call was sent, but no answer came."""


class Leaving(DaemonUnreachable):
    wire_name = "org.fluxgym.Machine.Leaving"


class ConfigInvalid(FluxgymError):
    exit_status = 2


class UnknownError(FluxgymError):
    """An error whose name this version does not know."""


WIRE_ERRORS: dict[str, type[FluxgymError]] = {
    error.wire_name: error
    for error in (
        InterfaceNotFound,
        MethodNotFound,
        InvalidParameter,
        ExpectedMore,
        PermissionDenied,
        InvalidName,
        NameTaken,
        InvalidSetting,
        InvalidDataset,
        FileMissing,
        NotEnoughSpace,
        NoSuchJob,
        WrongState,
        JobDamaged,
        NoSuchPreset,
        PresetFixed,
        PathTaken,
        StorageFailed,
        NoSuchDataset,
        NoSuchPicture,
        NoSuchChange,
        InvalidValue,
        NothingToUndo,
        StaleChange,
        DatasetDamaged,
        InternalError,
        NotPutAside,
        Overloaded,
        Leaving,
    )
}


def from_wire(name: str, parameters: dict[str, Any]) -> FluxgymError:
    """The exception for an error reply. A reply without a message gets one made from its fields."""
    fields = dict(parameters)
    known = WIRE_ERRORS.get(name, UnknownError)
    message = fields.pop("message", None)
    if not isinstance(message, str):
        details = ", ".join(f"{key} {value}" for key, value in fields.items())
        message = f"The daemon answered {name.rpartition('.')[2]}" + (f": {details}." if details else ".")
    return known(message, **fields)
