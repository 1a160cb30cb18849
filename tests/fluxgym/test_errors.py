# SPDX-License-Identifier: Apache-2.0
"""The table of errors: every class has a place in it, and an error stays the same when it is sent and received."""

import re

import pytest

from fluxgym import errors
from fluxgym.errors import WIRE_ERRORS, FluxgymError, UnknownError, from_wire

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FluxgymError)]


@pytest.mark.parametrize("error", CLASSES)
def test_each_class_is_in_the_tree_of_the_docstring(error: type[FluxgymError]) -> None:
    assert error.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("error", CLASSES)
def test_each_exit_status_is_in_the_docstring(error: type[FluxgymError]) -> None:
    said = {int(number) for number in re.findall(r"(\d) [a-z]", (errors.__doc__ or "").split("exit statuses:")[1])}
    assert error.exit_status in said


@pytest.mark.parametrize("error", CLASSES)
def test_a_class_with_a_wire_name_is_in_the_table_and_no_other_is(error: type[FluxgymError]) -> None:
    assert WIRE_ERRORS.get(error.wire_name) is (error if error.wire_name else None)


@pytest.mark.parametrize("error", [error for error in CLASSES if error.wire_name.startswith("org.fluxgym")])
def test_an_error_comes_back_as_its_class(error: type[FluxgymError]) -> None:
    sent = error("A sentence.", name="a")
    received = from_wire(sent.wire_name, sent.parameters())
    assert type(received) is error
    assert (received.message, received.fields) == ("A sentence.", {"name": "a"})


def test_promise_9_an_error_of_a_newer_daemon_keeps_its_sentence() -> None:
    received = from_wire("org.fluxgym.Jobs.Invented", {"message": "It is new."})
    assert type(received) is UnknownError
    assert (received.message, received.exit_status) == ("It is new.", 1)


def test_an_error_without_a_sentence_gets_one_from_its_fields() -> None:
    assert str(from_wire("org.varlink.service.MethodNotFound", {"method": "a.b.C"})) == (
        "The daemon answered MethodNotFound: method a.b.C."
    )
    assert str(from_wire("org.varlink.service.PermissionDenied", {})) == "The daemon answered PermissionDenied."


def test_errors_of_the_protocol_carry_only_the_fields_of_the_protocol() -> None:
    assert errors.MethodNotFound("x", method="a.b.C").parameters() == {"method": "a.b.C"}
