# SPDX-License-Identifier: Apache-2.0
"""The parameters of a call: an unknown one is refused by its name, and the refusal proposes the closest known one."""

from typing import Any

import pytest

from fluxgym.errors import InvalidParameter, InvalidSetting
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Message, Model, Revision
from fluxgymd.api.parameters import convert


def test_parameters_are_typed() -> None:
    raw = {
        "job": {
            "name": "my-lora",
            "model": {"clipL": "/m/clip"},
            "learningRate": 1,
            "samplePrompts": ["a"],
            "trainerOptions": {"network_args": ["x=1"], "anything": []},
        }
    }
    assert convert(raw, m.SubmitParameters) == m.SubmitParameters(
        job=Context(
            name="my-lora",
            model=Model(clip_l="/m/clip"),
            learning_rate=1.0,
            sample_prompts=["a"],
            trainer_options={"network_args": ["x=1"], "anything": []},
        )
    )
    watch = convert({"since": {"instance": "ab", "number": 4}}, m.WatchParameters)
    assert watch == m.WatchParameters(since=Revision(instance="ab", number=4))
    assert convert({}, m.Nothing) == m.Nothing()
    assert convert({"limit": None}, m.ListParameters) == m.ListParameters()


@pytest.mark.parametrize(
    ("job", "setting", "sentence"),
    [
        ({"name": "a", "epoch": 3}, "epoch", "There is no setting epoch; did you mean epochs?"),
        ({"name": "a", "network_dim": 3}, "network_dim", "There is no setting network_dim; did you mean networkDim?"),
        ({"name": "a", "model": {"clip": "/x"}}, "clip", "There is no setting clip; did you mean clipL?"),
        (
            {"name": "a", "model": {"zzz": "/x"}},
            "zzz",
            "There is no setting zzz; the known ones are transformer, clipL, t5xxl, autoencoder, tokenizers.",
        ),
    ],
)
def test_an_unknown_setting_is_refused(job: dict[str, Any], setting: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        convert({"job": job}, m.SubmitParameters)
    assert refusal.value.message == sentence
    assert refusal.value.fields == {"setting": setting}


@pytest.mark.parametrize(
    ("raw", "kind", "parameter", "sentence"),
    [
        (
            {"nam": "a"},
            m.JobName,
            "nam",
            "There is no parameter nam; did you mean name?",
        ),
        (
            {"since": {"instance": "a", "numbr": 1}},
            m.WatchParameters,
            "since.numbr",
            "There is no parameter since.numbr; did you mean number?",
        ),
        (
            {"name": "a", "job": {}},
            m.LogsParameters,
            "job",
            "There is no parameter job; the known ones are name, offset, follow, limit.",
        ),
    ],
)
def test_an_unknown_parameter_is_refused(
    raw: dict[str, Any], kind: type[Message], parameter: str, sentence: str
) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        convert(raw, kind)
    assert refusal.value.message == sentence
    assert refusal.value.fields == {"parameter": parameter}


@pytest.mark.parametrize(
    ("raw", "kind", "says"),
    [
        ({}, m.JobName, "missing required field `name`"),
        ({"name": 5}, m.JobName, "Expected `str`, got `int` - at `$.name`"),
        ({"name": None}, m.JobName, "Expected `str`, got `null` - at `$.name`"),
        ({"limit": "5"}, m.ListParameters, "Expected `int | null`, got `str` - at `$.limit`"),
        ({"limit": 1.5}, m.ListParameters, "Expected `int | null`, got `float` - at `$.limit`"),
        ({"limit": True}, m.ListParameters, "got `bool` - at `$.limit`"),
        ({"job": "my-lora"}, m.SubmitParameters, "Expected `object`, got `str` - at `$.job`"),
        ({"job": {"name": "a", "model": []}}, m.SubmitParameters, "got `array` - at `$.job.model`"),
        (
            {"job": {"name": "a", "trainerOptions": {"x": "y"}}},
            m.SubmitParameters,
            "Expected `array`, got `str` - at `$.job.trainerOptions[...]`",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_place(
    raw: dict[str, Any], kind: type[Message], says: str
) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        convert(raw, kind)
    assert says in refusal.value.message
    assert refusal.value.exit_status == 2
