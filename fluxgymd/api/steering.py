# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs that leave a job running. Each passes on its parameters and turns the result into a
message.
"""

from fluxgym.protocol import steering_methods as s
from fluxgym.protocol.methods import JobName, Nothing, OneJob
from fluxgymd.api.calls import Route, Send
from fluxgymd.core.wishes import Wish
from fluxgymd.jobs.view import show
from fluxgymd.requests.steering import Steering


class SteeringMethods:
    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    async def save_now(self, parameters: JobName, _: Send) -> Nothing:
        await self._steering.ask(parameters.name, Wish.SAVE)
        return Nothing()

    async def sample_now(self, parameters: JobName, _: Send) -> Nothing:
        await self._steering.ask(parameters.name, Wish.SAMPLE)
        return Nothing()

    async def set_watchdog(self, parameters: s.SetWatchdogParameters, _: Send) -> OneJob:
        entry = await self._steering.set_watchdog(parameters.name, parameters.mode, until=parameters.until)
        return OneJob(job=show(entry))

    def routes(self) -> list[Route]:
        return [
            Route(s.SAVE_NOW, self.save_now),
            Route(s.SAMPLE_NOW, self.sample_now),
            Route(s.SET_WATCHDOG, self.set_watchdog),
        ]
