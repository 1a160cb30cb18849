# SPDX-License-Identifier: Apache-2.0
"""Names of jobs: which are accepted, and that each refusal proposes a name that is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.errors import InvalidName
from fluxgym.names import check_name, propose


@pytest.mark.parametrize("name", ["a", "0", "my-lora", "my_lora.v2", "a" * 64, "a.", "a-"])
def test_a_good_name_is_kept_unchanged(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("", "my-lora"),
        ("My LoRA", "my-lora"),
        ("a/b", "a-b"),
        ("../etc", "etc"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("a\n", "a"),
        ("a\0b", "a-b"),
        ("Ünïcode", "n-code"),
        ("日本", "my-lora"),
        ("a" * 65, "a" * 64),
        ("a" * 63 + "/b", "a" * 63),
        ("..", "my-lora"),
        ("a b  c", "a-b-c"),
    ],
)
def test_a_bad_name_is_refused_with_a_proposal(name: str, proposal: str) -> None:
    with pytest.raises(InvalidName) as refusal:
        check_name(name)
    assert refusal.value.fields == {"name": name, "proposal": proposal}
    assert repr(proposal) in refusal.value.message


@given(st.text())
def test_every_proposal_is_a_good_name(name: str) -> None:
    assert check_name(propose(name)) == propose(name)


@given(st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", fullmatch=True))
def test_a_good_name_proposes_itself(name: str) -> None:
    assert propose(name) == name
