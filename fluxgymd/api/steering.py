# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs that leave a job running. Each passes its parameters on, and turns the result into
a message.
"""

from fluxgym import steering_methods as s
from fluxgym.methods import OneJob
from fluxgymd.api.calls import Route, Send
from fluxgymd.jobs.view import show
from fluxgymd.requests.steering import Steering


class SteeringMethods:
    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    async def set_watchdog(self, parameters: s.SetWatchdogParameters, _: Send) -> OneJob:
        entry = await self._steering.set_watchdog(parameters.name, parameters.mode, until=parameters.until)
        return OneJob(job=show(entry))

    def routes(self) -> list[Route]:
        return [Route(s.SET_WATCHDOG, self.set_watchdog)]
