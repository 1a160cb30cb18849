# SPDX-License-Identifier: Apache-2.0
"""The verbs about the machine, with the real daemon."""

import json
import re
from typing import Any

from fluxgymd.trainers.settings import MODEL_FILES
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl, rows
from tests.store.files import LORA


def test_config_can_show_the_settings_of_the_daemon_which_may_differ(shared_daemon: RunningDaemon) -> None:
    limit = "FLUXGYM_STOP_LIMIT_SECONDS"
    settings: dict[str, Any] = {"socket": shared_daemon.socket, limit: "7"}
    printed = [rows(ctl("config", "--json", **settings)), rows(ctl("config", "--daemon", "--json", **settings))]
    shown = [{one["key"]: one for one in each} for each in printed]
    told = [each["stop.limit_seconds"] for each in shown]
    assert [(one["value"], one["source"], one["default"]) for one in told] == [
        ("7", limit, "90"),
        ("90", "default", "90"),
    ]
    home, supervisor = shown[1]["home"], shown[1]["supervisor"]
    assert (home["value"], home["source"]) == (str(shared_daemon.home), "--home")
    assert (supervisor["value"], supervisor["source"]) == ("process", "--supervisor")


def test_check_names_each_missing_model_file_and_its_remedy(shared_daemon: RunningDaemon) -> None:
    done = ctl("check", "--json", socket=shared_daemon.socket)
    assert (done.returncode, done.stderr) == (1, "")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    outcomes = {one["name"]: one["outcome"] for one in results}
    assert list(outcomes) == ["gpu", "supervisor", "linger", "disk", "models", "trainer", "health"]
    assert (outcomes["models"], outcomes["trainer"], outcomes["health"]) == ("problem", "good", "good")
    assert outcomes["supervisor"] == "warning", "the jobs of this daemon are plain processes"
    clip = shared_daemon.home / "models/clip/clip_l.safetensors"
    (missing,) = [one for one in results if "CLIP-L" in one["text"]]
    assert f"The file {clip} for CLIP-L does not exist" in missing["text"]
    assert missing["remedy"] == f"Put the file at {clip}."


def test_check_shows_each_remedy_below_its_problem_and_succeeds_without_a_problem(daemon: RunningDaemon) -> None:
    listed = ctl("check", socket=daemon.socket).stdout
    assert re.search(r"^problem  models: The file .*CLIP-L.*\n {9}Put the file at ", listed, re.MULTILINE)
    for default in MODEL_FILES.values():
        file = daemon.home / default
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(LORA)
    done = ctl("check", socket=daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^good     models: ", done.stdout, re.MULTILINE)
