# SPDX-License-Identifier: Apache-2.0
"""The verbs about the machine, with the real daemon."""

from typing import Any

from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl, rows


def test_config_shows_the_settings_of_the_daemon_too_which_may_be_others(shared_daemon: RunningDaemon) -> None:
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
