# SPDX-License-Identifier: Apache-2.0
"""Tests of a preset's file: what is read, what is refused and why, and that what is written is read again."""

import msgspec
import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Model, Preset, RestartPolicy
from fluxgymd.presets import preset
from fluxgymd.presets.preset import NotAPreset
from tests.core.histories import CONTEXT

FULL = Preset(
    settings=Context(
        name="mine",
        resolution=768,
        learning_rate=1e-4,
        restart=RestartPolicy.NEVER,
        watchdog_limits={"step_seconds": 60.0},
        trainer_options={"fp8_base": [], "sdpa": ["false"], "loss_type": ["l1"], "network_args": ["a=1", "b=2"]},
    ),
    about='For "cats".',
    why={"resolution": "It is enough.", "trainer_options.loss_type": "It's robust."},
    shipped=False,
)


def test_what_is_written_is_read_again() -> None:
    text = preset.render(FULL).decode()
    assert preset.parse(text, name="mine", shipped=False) == FULL
    assert 'fp8_base = true\nsdpa = false\nloss_type = "l1"\n' in text, "as a person would write them"
    plain = Preset(settings=Context(name="plain", epochs=3), why={}, shipped=False)
    assert preset.render(plain) == b"epochs = 3\n"


def test_a_spec_file_with_reasons_beside_its_values_is_a_preset() -> None:
    text = 'learning_rate = 1\nwhy.learning_rate = "fast"\ntrainer_options.fp8_base = true\nepochs = 2\n'
    read = preset.parse(text, name="a", shipped=True)
    assert read.settings == Context(name="a", learning_rate=1.0, epochs=2, trainer_options={"fp8_base": []})
    assert (read.why, read.about, read.shipped) == ({"learning_rate": "fast"}, None, True)


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("epochs = ", "is not valid TOML: "),
        ("epoch = 3", "has an unknown setting epoch; did you mean epochs?"),
        ("epochs = 'three'", "has an invalid value: epochs cannot be 'three'"),
        ("epochs = true", "has an invalid value: epochs cannot be True"),
        ("restart = 'sometimes'", "has an invalid value: restart cannot be 'sometimes'"),
        ("about = 3", "has an invalid value: about must be a text"),
        ("[trainer_options]\nfp8_base = {a = 1}", "has an invalid value: trainer_options.fp8_base must be true"),
        ("trainer_options = 3", "has an invalid value: trainer_options cannot be 3"),
        ("[why]\nepochs = 'many'", "gives a reason for epochs, which it does not set"),
        ("epochs = 3\nwhy.epochs = 3", "has an invalid value: why.epochs must be a text"),
        ("dataset = '/pictures'", "cannot be used: dataset belongs to one job, so a preset cannot have it"),
        ("name = 'cat'", "cannot be used: name belongs to one job"),
        ("[model]\nclip_l = '/c'", "cannot be used: model belongs to one job"),
        (
            "trainer_options.resume = 'a'",
            "cannot be used: trainer_options.resume cannot be given; use `fluxgymctl res",
        ),
        ("trainer_options.network_weights = 'a'", "cannot be used: trainer_options.network_weights belongs to one"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_clause(text: str, clause: str) -> None:
    with pytest.raises(NotAPreset) as refusal:
        preset.parse(text, name="a", shipped=False)
    assert str(refusal.value).startswith(clause)


def test_a_preset_of_a_job_has_nothing_that_belongs_to_the_job() -> None:
    job = msgspec.structs.replace(
        CONTEXT,
        model=Model(clip_l="/c"),
        sample_prompts=["a cat"],
        after=["other"],
        trainer_options={"network_weights": ["/a"], "fp8_base": []},
    )
    made = preset.of_job(job, "mine")
    assert made == msgspec.structs.replace(
        made,
        name="mine",
        epochs=CONTEXT.epochs,
        learning_rate=CONTEXT.learning_rate,
        trainer_options={"fp8_base": []},
    )
    assert not preset.keys(made) & (preset.OF_ONE_JOB | {"trainer_options.network_weights"})
    preset.refuse(made)
    with pytest.raises(InvalidSetting, match=r"^after belongs to one job, so a preset cannot have it\.$"):
        preset.refuse(job)
