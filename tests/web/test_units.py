# SPDX-License-Identifier: Apache-2.0
"""The unit files of the web server, on a real user manager: the first visit starts it."""

import sys
from pathlib import Path

import pytest

from tests.harness.user_manager import UserManager

VISIT = """
import sys, urllib.request, urllib.error
try:
    urllib.request.urlopen("http://127.0.0.1:7860/", timeout=60)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.mark.systemd
def test_the_first_visit_starts_the_server_and_it_stops_at_once(user_manager: UserManager, checkout: Path) -> None:
    units = user_manager.home / ".config/systemd/user"
    programs = user_manager.home / ".local/bin"
    for place in (units, programs):
        place.mkdir(parents=True, exist_ok=True)
    for name in ("fluxgym-web.service", "fluxgym-web.socket"):
        (units / name).write_text((checkout / "units" / name).read_text())
    (programs / "fluxgymweb").symlink_to(Path(sys.prefix) / "bin/fluxgymweb")
    user_manager.daemon_reload()

    user_manager.systemctl("start", "fluxgym-web.socket")
    assert user_manager.show("fluxgym-web.service", "ActiveState") == "inactive"
    assert user_manager.run([sys.executable, "-c", VISIT]).stdout == "401\n"
    assert user_manager.show("fluxgym-web.service", "ActiveState") == "active"
    user_manager.systemctl("stop", "fluxgym-web.socket", "fluxgym-web.service")
    assert user_manager.show("fluxgym-web.service", "Result") == "success"
