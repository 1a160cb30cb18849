# SPDX-License-Identifier: Apache-2.0
"""Streams from the daemon that never end: after a restart of the daemon they begin again where they were."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from fluxgym.async_client import AsyncClient
from fluxgym.errors import DaemonUnreachable, Overloaded
from fluxgym.methods import Method

SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


async def lasting(
    client: AsyncClient,
    method: Method[Any, Any],
    parameters: Callable[[], Any],
    *,
    away: Callable[[DaemonUnreachable | Overloaded], None] = lambda _: None,
) -> AsyncGenerator[Any, None]:
    """The replies, and None after each end of the stream. `parameters`: those of the next call. `away` is told while
    no daemon answers. Any other error ends this."""
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        began = asyncio.get_running_loop().time()
        try:
            async with aclosing(client.stream(method, parameters())) as replies:
                async for reply in replies:
                    yield reply
        except (DaemonUnreachable, Overloaded) as error:
            away(error)
        yield None
        if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_SECONDS:
            pause = SHORTEST_PAUSE_SECONDS
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
