# SPDX-License-Identifier: Apache-2.0
"""Fixtures from the attempts' contract suite (real scopes) and from the daemon's tests (the tiny model)."""

from tests.attempts.conftest import daemon, manager, new_daemon
from tests.daemon.conftest import model

__all__ = ["daemon", "manager", "model", "new_daemon"]
