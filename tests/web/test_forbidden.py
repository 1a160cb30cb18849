# SPDX-License-Identifier: Apache-2.0
"""What the page cannot set. Every setting and every parameter has to be classified, so that nobody forgets a new
one."""

from typing import Any

import msgspec
import pytest

from fluxgym.protocol import paths_and_programs as forbidden
from fluxgym.protocol.messages import Context, Kind, Model, OptionType, Part
from fluxgym.protocol.method_table import METHODS
from fluxgym.protocol.methods import SUBMIT, TRAINER_OPTIONS, Nothing, SubmitParameters
from tests.daemon.running import RunningDaemon, program
from tests.web.serving import RunningWeb


def test_every_setting_is_classified_once() -> None:
    settings = {field.encode_name for field in msgspec.structs.fields(Context)}
    assert settings - forbidden.FREE_SETTINGS == forbidden.CHECKED_SETTINGS
    assert not forbidden.FREE_SETTINGS & forbidden.CHECKED_SETTINGS


def test_every_parameter_is_classified_once() -> None:
    kinds = (forbidden.FREE_PARAMETERS, forbidden.CONTEXTS, forbidden.PATHS)
    for method in METHODS.values():
        for field in msgspec.structs.fields(method.parameters):
            assert [field.encode_name in kind for kind in kinds].count(True) == 1, (method.name, field.encode_name)
            holds_context = Context.__name__ in str(field.type)
            assert holds_context == (field.encode_name in forbidden.CONTEXTS), (method.name, field.encode_name)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"dataset": "cats"}, None),
        ({"dataset": "/etc"}, "job.dataset"),
        ({"dataset": "pictures/cats"}, "job.dataset"),
        ({"dataset": "~"}, "job.dataset"),
        ({"dataset": ".."}, "job.dataset"),
        ({"parts": [Part(dataset="cats"), Part(dataset="dogs", folder="10_dog")]}, None),
        ({"parts": [Part(dataset="cats"), Part(dataset="./dogs")]}, "job.parts.dataset"),
        ({"model": Model(transformer="/m.safetensors")}, "job.model"),
        ({"kind": Kind.PROGRAM, "program": ["/bin/sh"]}, "job.program"),
        ({"trainer_options": {"network_alpha": ["4"], "cache_latents": []}}, None),
        ({"trainer_options": {"logging_dir": ["x"]}}, "job.trainerOptions.logging_dir"),
        ({"trainer_options": {"logging-dir": ["x"]}}, "job.trainerOptions.logging-dir"),
        ({"trainer_options": {"network_args": ["a=1", "b=/x"]}}, "job.trainerOptions.network_args"),
        ({"trainer_options": {"optimizer_type": ["os.system"]}}, "job.trainerOptions.optimizer_type"),
        ({"trainer_options": {"optimizer_type": ["AdamW"]}}, None),
    ],
)
def test_paths_and_programs_are_refused(settings: dict[str, Any], refused: str | None) -> None:
    parameters = SubmitParameters(job=Context(name="a", **settings))
    assert forbidden.refused(parameters, [], {"logging_dir"}) == refused
    known = Context(name="b", **settings)
    assert forbidden.refused(parameters, [known], {"logging_dir"}) is None


def test_every_option_of_the_trainer_that_is_a_path_is_refused(web: RunningWeb, daemon: RunningDaemon) -> None:
    options = [
        option.name for option in daemon.call(TRAINER_OPTIONS, Nothing()).options if option.type is OptionType.PATH
    ]
    assert "logging_dir" in options
    for name in options:
        answer = web.call(SUBMIT.name, job={"name": "a", "dataset": "cats", "trainerOptions": {name: ["x"]}})
        assert (answer.status_code, answer.json()["error"]) == (403, "org.fluxgym.Web.NotFromThePage"), name


def test_a_job_with_a_program_can_be_edited_and_used_for_another_with_like(
    web: RunningWeb, daemon: RunningDaemon
) -> None:
    job = daemon.submit(program("a", held=True)).job.context
    given = msgspec.to_builtins(job)
    assert web.call("org.fluxgym.Jobs.Edit", job={**given, "priority": 5}).status_code == 200
    other = {**given, "name": "b"}
    assert web.call(SUBMIT.name, job=other).status_code == 403
    with web.client() as client:
        assert client.post(f"/api/v1/{SUBMIT.name}", params={"like": "a"}, json={"job": other}).status_code == 200


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("org.fluxgym.Datasets.Add", {"name": "a", "path": "/etc"}),
        ("org.fluxgym.Jobs.Convert", {"text": "", "folder": "/etc"}),
        ("org.fluxgym.Jobs.Export", {"name": "a", "folder": "/tmp/x"}),
        ("org.fluxgym.Jobs.SavePreset", {"settings": {"name": "a", "model": {"clipL": "/etc/passwd"}}}),
    ],
)
def test_no_method_takes_a_path_from_the_page(
    shared_web: RunningWeb, method: str, parameters: dict[str, Any]
) -> None:
    answer = shared_web.call(method, **parameters)
    assert (answer.status_code, answer.json()["error"]) == (403, "org.fluxgym.Web.NotFromThePage")
