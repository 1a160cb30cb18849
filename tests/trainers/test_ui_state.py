# SPDX-License-Identifier: Apache-2.0
"""Checks that ui_state.json has the keys of the older program, with the job's values."""

import json

import msgspec

from fluxgym.protocol.messages import State
from fluxgymd.trainers import ui_state
from tests.core.histories import CONTEXT


def test_the_keys_of_the_older_program() -> None:
    context = msgspec.structs.replace(
        CONTEXT,
        trigger_word='a "cat"',
        sample_prompts=["one", "two"],
        sample_every_steps=50,
        trainer_options={"max_data_loader_n_workers": ["0"], "guidance_scale": ["3.5"], "sdpa": []},
    )
    view = json.loads(ui_state.render(context, State.RUNNING, "ab" * 16, 12.5))
    own = view.pop("context")
    assert view == {
        "lora_name": "my-lora",
        "concept_sentence": 'a "cat"',
        "num_repeats": 10,
        "max_train_epochs": 16,
        "sample_prompts": "one\ntwo",
        "sample_every_n_steps": 50,
        "resolution": 512,
        "enable_checkpointing": True,
        "resume_from_checkpoint": "",
        "enable_monitoring": True,
        "seed": 42,
        "workers": 0,
        "learning_rate": "0.0008",
        "save_every_n_epochs": 4,
        "guidance_scale": 3.5,
        "timestep_sampling": "shift",
        "network_dim": 4,
        "timestamp": 12.5,
        "status": "running",
        "job_id": "ab" * 16,
    }
    assert msgspec.convert(own, type(context)) == context


def test_words_that_are_not_numbers_do_not_break_the_view() -> None:
    context = msgspec.structs.replace(
        CONTEXT, trainer_options={"max_data_loader_n_workers": ["many"], "guidance_scale": ["high"]}
    )
    view = json.loads(ui_state.render(context, State.QUEUED, "", 0.0))
    assert (view["workers"], view["guidance_scale"]) == (2, 1.0)
