# SPDX-License-Identifier: Apache-2.0
"""The adapters of this machine and the way to its systemd, made around the choice of supervisor.py."""

import os
from collections.abc import Mapping

from fluxgym.config import Config
from fluxgymd.attempts.port import Adapter
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.sleep import Inhibit
from fluxgymd.supervisor import Choice, choose


class Supervisors:
    """What `connect` made."""

    def __init__(self, choice: Choice, adapters: dict[str, Adapter]) -> None:
        self.choice = choice
        self.adapters = adapters
        self.inhibit_sleep: Inhibit | None = None

    async def ping(self) -> float | None:
        return None

    async def close(self) -> None:
        pass


async def connect(config: Config, environ: Mapping[str, str] = os.environ) -> Supervisors:
    """The adapters, and which of them is used for new attempts."""
    choice = choose(config.supervisor, started_by_systemd="NOTIFY_SOCKET" in environ, manager_problem="not yet")
    adapters: dict[str, Adapter] = {"process": ProcessAdapter(stop_limit=config.stop_limit)}
    return Supervisors(choice, adapters)
