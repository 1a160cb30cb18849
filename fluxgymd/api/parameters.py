# SPDX-License-Identifier: Apache-2.0
"""Turns the JSON of a call into typed parameters. A parameter that the method does not know is refused by name, never
ignored: a misspelt setting would otherwise spend a night training something else.
"""

from typing import Any, TypeVar, get_args

import msgspec

from fluxgym.errors import FluxgymError, InvalidParameter, InvalidSetting
from fluxgym.protocol.messages import Context, Model
from fluxgym.quoting import hint, short

T = TypeVar("T", bound=msgspec.Struct)


def convert(raw: dict[str, Any], kind: type[T]) -> T:
    """The typed parameters. InvalidSetting for an unknown setting of a job, InvalidParameter for anything else."""
    _refuse_unknown(raw, kind, "")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        wrong = short(str(error))
        raise InvalidParameter(f"Invalid parameter: {wrong}.", parameter=wrong) from None


def _refuse_unknown(raw: Any, kind: type[msgspec.Struct], path: str) -> None:
    if not isinstance(raw, dict):
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, value in raw.items():
        if name not in fields:
            raise _unknown(name, kind, path, list(fields))
        inner = _struct_in(fields[name].type)
        if inner is not None:
            _refuse_unknown(value, inner, f"{path}{name}.")


def _unknown(name: str, kind: type[msgspec.Struct], path: str, known: list[str]) -> FluxgymError:
    given = short(name)
    meant = hint(name, known, otherwise=f"the known ones are {', '.join(known)}.")
    if kind in (Context, Model):
        return InvalidSetting(f"There is no setting {given}; {meant}", setting=given)
    return InvalidParameter(f"There is no parameter {path}{given}; {meant}", parameter=f"{path}{given}")


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in `T` or `T | None`."""
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
