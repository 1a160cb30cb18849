# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the contract suite and of the daemon's tests: real scopes, and the tiny model."""

from tests.attempts.conftest import daemon, manager, new_daemon
from tests.daemon.conftest import folder, model

__all__ = ["daemon", "folder", "manager", "model", "new_daemon"]
