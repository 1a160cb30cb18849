# SPDX-License-Identifier: Apache-2.0
"""The interface definitions and the structs agree, field by field; an independent parser reads the definitions."""

import re
import types
import typing
from enum import Enum
from typing import Any

import msgspec
import pytest
from varlink import scanner

from fluxgym import errors
from fluxgym.protocol.messages import Message
from tests.fluxgym.described import METHODS, TYPES, members

STREAMS = {"List", "Logs", "Watch", "History"}


def spelled(varlink_type: Any) -> str:
    """A parsed type as written in the definition language. The parser represents basic types by Python values."""
    match varlink_type:
        case scanner._Maybe():
            return "?" + spelled(varlink_type.element_type)
        case scanner._Array():
            return "[]" + spelled(varlink_type.element_type)
        case scanner._Dict():
            return "[string]" + spelled(varlink_type.element_type)
        case scanner._CustomType():
            return str(varlink_type.name)
    return {bool: "bool", int: "int", float: "float", str: "string"}[type(varlink_type)]


def spelled_python(annotation: Any) -> str:
    """The type of a struct's field, written in the same way."""
    arguments = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType):
        (inner,) = (part for part in arguments if part is not types.NoneType)
        return "?" + spelled_python(inner)
    if typing.get_origin(annotation) is list:
        return "[]" + spelled_python(arguments[0])
    if typing.get_origin(annotation) is dict:
        assert arguments[0] is str
        return "[string]" + spelled_python(arguments[1])
    basic = {bool: "bool", int: "int", float: "float", str: "string"}
    return basic.get(annotation) or str(annotation.__name__)


def fields_of(structure: type[msgspec.Struct]) -> dict[str, str]:
    return {field.encode_name: spelled_python(field.type) for field in msgspec.structs.fields(structure)}


def fields_in(varlink_struct: Any) -> dict[str, str]:
    return {name: spelled(kind) for name, kind in varlink_struct.fields.items()}


@pytest.mark.parametrize(("interface", "name", "alias"), members("_Alias"))
def test_each_type_is_a_struct_with_the_same_fields(interface: str, name: str, alias: Any) -> None:
    ours = TYPES[name]
    if isinstance(alias.type, scanner._Enum):
        assert issubclass(ours, Enum)
        # A client reads an unknown value as `unknown`. Only in ExitKind is it also sent.
        assert {str(value) for value in ours} == set(alias.type.fields) | {"unknown"}
    else:
        assert issubclass(ours, Message)
        assert list(fields_of(ours).items()) == list(fields_in(alias.type).items())


def test_each_struct_is_a_type_of_an_interface() -> None:
    described = {name for _, name, _ in members("_Alias")}
    assert set(TYPES) == described


def test_each_method_is_in_the_table_and_in_an_interface() -> None:
    assert set(METHODS) == {f"{interface}.{name}" for interface, name, _ in members("_Method")}


@pytest.mark.parametrize(("interface", "name", "method"), members("_Method"))
def test_each_method_has_the_same_parameters_and_reply(interface: str, name: str, method: Any) -> None:
    ours = METHODS[f"{interface}.{name}"]
    assert fields_of(ours.parameters) == fields_in(method.in_type)
    assert fields_of(ours.reply) == fields_in(method.out_type)
    assert ours.interface == interface


@pytest.mark.parametrize(("interface", "name", "method"), members("_Method"))
def test_a_stream_and_no_other_method_says_that_it_needs_more(interface: str, name: str, method: Any) -> None:
    said = "Needs `more`" in " ".join(method.doc.split())
    assert said == METHODS[f"{interface}.{name}"].stream
    assert said or name not in STREAMS


def test_optional_fields_and_only_they_may_be_left_out() -> None:
    """A field with `?` has the default None, so that a missing field and null are the same. No other field has a
    default."""
    for structure in [kind for kind in TYPES.values() if issubclass(kind, Message)]:
        for field in msgspec.structs.fields(structure):
            optional = spelled_python(field.type).startswith("?")
            assert field.default is (None if optional else msgspec.NODEFAULT), (structure, field.name)


def test_names_follow_the_style_of_varlink() -> None:
    """Field names are in camelCase; enum values are lower case with underscores (systemd's VARLINK_API_STYLE)."""
    for _, name, alias in members("_Alias"):
        pattern = r"[a-z]+(_[a-z]+)*" if isinstance(alias.type, scanner._Enum) else r"[a-z][a-zA-Z0-9]*"
        for field in alias.type.fields:
            assert re.fullmatch(pattern, field), (name, field)


@pytest.mark.parametrize(
    ("interface", "name", "error"),
    # The daemon implements every method that it describes, so it never sends this error.
    [row for row in members("_Error") if row[1] != "MethodNotImplemented"],
)
def test_each_error_has_a_class(interface: str, name: str, error: Any) -> None:
    wire_name = f"{interface}.{name}"
    ours = errors.WIRE_ERRORS[wire_name]
    assert ours.wire_name == wire_name
    if interface != "org.varlink.service":
        assert fields_in(error.type)["message"] == "string", "every error of ours carries a sentence"


def test_each_class_of_an_error_on_the_wire_is_described() -> None:
    described = {f"{interface}.{name}" for interface, name, _ in members("_Error")}
    assert set(errors.WIRE_ERRORS) <= described
