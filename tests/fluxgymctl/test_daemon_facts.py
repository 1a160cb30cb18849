# SPDX-License-Identifier: Apache-2.0
"""What `fluxgymctl daemon` reports about the daemon, in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fluxgym.protocol.machine_methods import InfoReply
from fluxgymctl.machine.daemon import facts

INFO: dict[str, Any] = {
    "version": "0.1.0",
    "instance": "1",
    "pid": 1,
    "startedAt": 0.0,
    "home": "/h",
    "socket": "/s",
    "supervisor": "scope",
    "supervisorReason": "systemd is there",
    "linger": "disabled",
    "sleepInhibitor": "not_needed",
    "jobs": {},
    "degraded": [],
}


@pytest.mark.parametrize(
    ("supervisor", "linger", "text"),
    [
        ("scope", "disabled", "off: jobs end at the last logout; turn it on with `loginctl enable-linger`"),
        ("process", "disabled", "off, which does not affect jobs that are plain processes"),
        ("scope", "enabled", "on: jobs continue after the last logout"),
        ("process", "enabled", "on: jobs continue after the last logout"),
        ("process", "unknown", "unknown"),
    ],
)
def test_linger_is_recommended_only_where_jobs_depend_on_it(supervisor: str, linger: str, text: str) -> None:
    info = msgspec.convert({**INFO, "supervisor": supervisor, "linger": linger}, InfoReply)
    assert dict(facts(info, now=0.0))["Linger"] == text
