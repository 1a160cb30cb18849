# SPDX-License-Identifier: Apache-2.0
"""The choice of what runs the attempts: never something that would end them with the daemon."""

import pytest

from fluxgym.errors import ConfigInvalid
from fluxgymd.attempts.choice import Choice, NoUserManager, choose
from tests.daemon.installed import SERVICE, SOCKET, InstalledDaemon
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until


def test_without_a_manager_processes_are_used_unless_something_else_is_requested() -> None:
    assert choose("auto", started_by_systemd=False, manager_problem="it is away").adapter == "process"
    with pytest.raises(NoUserManager, match="it is away; log in with a session"):
        choose("scope", started_by_systemd=False, manager_problem="it is away")


@pytest.mark.parametrize("setting", ["auto", "scope"])
def test_a_daemon_started_by_systemd_waits_for_its_manager(setting: str) -> None:
    assert choose(setting, started_by_systemd=True, manager_problem="it is away") == Choice(
        "scope", "systemd started the daemon."
    )


def test_promise_1_a_daemon_started_by_systemd_runs_no_job_that_would_end_with_it() -> None:
    with pytest.raises(ConfigInvalid, match="set supervisor to auto or scope"):
        choose("process", started_by_systemd=True, manager_problem=None)


@pytest.mark.systemd
def test_promise_1_the_service_refuses_the_setting_and_says_so(user_manager: UserManager) -> None:
    daemon = InstalledDaemon(user_manager)
    config = user_manager.home / ".config" / "fluxgym" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('supervisor = "process"\n')
    user_manager.systemctl("stop", SOCKET, SERVICE)
    user_manager.systemctl("start", "--no-block", SERVICE)
    said = "fluxgymd: The supervisor is set to process, but systemd started the daemon"
    until(lambda: said in daemon.log.read_text(), what="the refusal")
