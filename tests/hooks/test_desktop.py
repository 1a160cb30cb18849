# SPDX-License-Identifier: Apache-2.0
"""Tests of notifications on a real session bus, with a service that shows them and without one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from fluxgymd.hooks import desktop
from tests.harness.user_manager import UserManager
from tests.hooks.desktop_service import DesktopService, Shown

pytestmark = pytest.mark.systemd

ADDRESS = "DBUS_SESSION_BUS_ADDRESS"


def show(environ: dict[str, str]) -> None:
    asyncio.run(desktop.show("a title", "1 < 2 & so on", environ=environ))


@pytest.mark.parametrize(
    ("abilities", "body"),
    [(("body",), "1 < 2 & so on"), (("body", "body-markup"), "1 &lt; 2 &amp; so on")],
    ids=["plain text", "markup"],
)
def test_the_desktop_shows_the_text_as_it_is(
    user_manager: UserManager, abilities: tuple[str, ...], body: str
) -> None:
    with DesktopService(user_manager.environment[ADDRESS], abilities=abilities) as service:
        show(user_manager.environment)
        assert service.next() == Shown("FluxGym", "a title", body)


def test_without_a_desktop_nothing_is_shown_and_the_reason_is_logged(
    user_manager: UserManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=desktop.log.name)
    show(user_manager.environment)  # a bus without the service
    # Only the test's own environment names this desktop. `environ` does not, so nothing may be shown there.
    monkeypatch.setenv(ADDRESS, user_manager.environment[ADDRESS])
    with DesktopService(user_manager.environment[ADDRESS]) as service:
        show({ADDRESS: f"unix:path={tmp_path}/nobody"})
        show({ADDRESS: "nonsense"})
        show({})
        assert service.shown.empty()
    told = [record.levelno for record in caplog.records if record.name == desktop.log.name]
    assert told == [logging.DEBUG] * 3
