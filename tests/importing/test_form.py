# SPDX-License-Identifier: Apache-2.0
"""Tests of reading the fork's ui_state.json, despite any errors in it, and of the flags made from it, which are those
of its train.sh."""

import json

import pytest

from fluxgymd.importing import form, script
from tests.data.older import make


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"status": "x"}', b"\xff", b"[" * 5000])
def test_a_file_that_is_not_a_form_gives_none(data: bytes) -> None:
    assert form.read(data) is None


@pytest.mark.parametrize(
    ("value", "word"), [(16, "16"), (16.0, "16"), (1.5, "1.5"), ("8e-4", "8e-4"), (None, "?"), ([], "?"), (True, "?")]
)
def test_a_value_becomes_a_word_of_the_command_line(value: object, word: str) -> None:
    assert form.Form({"x": value}).word("x", "?") == word


@pytest.mark.parametrize("tier", make.TIERS)
@pytest.mark.parametrize("every", [0, 50])
def test_a_form_has_the_flags_of_its_script(tier: str, every: int) -> None:
    written = script.trainer_flags(make.train_sh("x", tier=tier, fork=True, every=every))
    assert written is not None
    values = make.form("x", vram=tier, sample_prompts="a garden" if every else "", sample_every_n_steps=every)
    read = form.read(json.dumps(values).encode())
    assert read is not None
    made = form.trainer_flags(read)
    # These are found by looking in the folder, or are always set (save_state).
    for flag in ("dataset_config", "output_dir", "output_name", "save_state", "sample_prompts"):
        written.pop(flag, None)
    written |= {flag: [path.removeprefix(f"{make.ROOT}/") for path in written[flag]] for flag in MODELS}
    assert made == written | {"guidance_scale": ["1"]}


MODELS = ("pretrained_model_name_or_path", "clip_l", "t5xxl", "ae")
