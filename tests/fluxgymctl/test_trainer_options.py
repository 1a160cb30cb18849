# SPDX-License-Identifier: Apache-2.0
"""The verb `options` on a real daemon with our trainer."""

import re

import msgspec

from fluxgym.protocol.messages import OptionType, TrainerOption
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.conftest import running
from tests.fluxgymctl.program import ctl, rows


def test_options_shows_the_flags_of_the_trainer_by_group(shared_daemon: RunningDaemon) -> None:
    done = ctl("options", socket=shared_daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "OPTION"
    assert [line for line in lines if line.endswith(":") and " " * 3 not in line][:3] == [
        "Models:",
        "Data:",
        "Output:",
    ]
    (guidance,) = (line for line in lines if line.startswith("guidance_scale "))
    assert re.match(r"guidance_scale +number +1 +guidance given to the model in training$", guidance)
    (rate,) = (line for line in lines if line.startswith("learning_rate "))
    assert re.match(r"learning_rate +number +0\.0008 +not an option; use learning_rate\. learning rate$", rate)
    found = ctl("options", "keep-tokens", socket=shared_daemon.socket)
    assert re.findall(r"^\w+ ", found.stdout, re.MULTILINE) == ["OPTION ", "keep_tokens ", "keep_tokens_separator "]


def test_options_as_json_has_the_words_of_each_choice(shared_daemon: RunningDaemon) -> None:
    done = ctl("options", "precision", "--json", socket=shared_daemon.socket)
    found = {option.name: option for option in (msgspec.convert(row, TrainerOption) for row in rows(done))}
    assert found["mixed_precision"].choices == ["no", "bf16"]
    assert (found["mixed_precision"].default, found["mixed_precision"].passed) == (["no"], ["bf16"])
    assert found["save_precision"].choices == ["float", "fp16", "bf16"]
    done = ctl("options", "cache_latents_to_disk", "--json", socket=shared_daemon.socket)
    (caches,) = (msgspec.convert(row, TrainerOption) for row in rows(done))
    assert (caches.type, caches.passed) == (OptionType.SWITCH, [])


def test_a_word_that_no_flag_has_is_reported(shared_daemon: RunningDaemon) -> None:
    done = ctl("options", "zebra", socket=shared_daemon.socket)
    says = "fluxgymctl: No flag of the trainer has 'zebra' in its name, group or description.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", says)


def test_a_trainer_that_does_not_answer_is_reported() -> None:
    with running(FLUXGYM_TRAINER_PATH="/nonexistent") as daemon:
        done = ctl("options", socket=daemon.socket)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"The trainer in /nonexistent does not say which flags it has", done.stderr)
