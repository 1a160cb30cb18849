# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs that steer a job while it runs, without stopping it (see methods.py)."""

from fluxgym.protocol.messages import Message, WatchdogMode
from fluxgym.protocol.methods import JobName, Method, Nothing, OneJob


class SetWatchdogParameters(Message, frozen=True, kw_only=True):
    name: str
    mode: WatchdogMode
    until: float | None = None


SAVE_NOW = Method("org.fluxgym.Jobs.SaveNow", JobName, Nothing)
SAMPLE_NOW = Method("org.fluxgym.Jobs.SampleNow", JobName, Nothing)
SET_WATCHDOG = Method("org.fluxgym.Jobs.SetWatchdog", SetWatchdogParameters, OneJob)
