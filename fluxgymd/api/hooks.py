# SPDX-License-Identifier: Apache-2.0
"""The method of org.fluxgym.Machine about hooks. It calls the configured hooks; no method sets one."""

import asyncio

from fluxgym.errors import InvalidParameter
from fluxgym.hooks import EVENTS
from fluxgym.protocol import machine_methods as mm
from fluxgym.quoting import short
from fluxgymd.api.calls import Route, Send
from fluxgymd.hooks.calls import Hooks


class HookMethods:
    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def routes(self) -> list[Route]:
        return [Route(mm.TEST_HOOK, self.test)]

    async def test(self, asked: mm.TestHookParameters, send: Send) -> mm.TestHookReply:
        if asked.hook is not None and asked.hook not in EVENTS:
            raise InvalidParameter(
                f"There is no hook {short(asked.hook)}; the hooks are {', '.join(EVENTS)}.",
                parameter="hook",
            )
        events = [event for event in EVENTS if event in self._hooks.events and asked.hook in (None, event)]
        if not events:
            which = "No hook is" if asked.hook is None else f"The hook on_{asked.hook} is not"
            key = "on_finish" if asked.hook is None else f"on_{asked.hook}"
            return mm.TestHookReply(
                problem=f'{which} set; write {key} = ["/path/of/a/program"], or an https address, below [hooks] in '
                "config.toml, and restart fluxgymd."
            )
        for found in asyncio.as_completed([self._hooks.test(event) for event in events]):
            await send(mm.TestHookReply(result=await found))
        return mm.TestHookReply()
