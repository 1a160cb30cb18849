# SPDX-License-Identifier: Apache-2.0
"""Machine.Watch computes only while somebody watches, and once for all watchers."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

from fluxgym.protocol import machine_methods as mm
from fluxgymd.api.overview import Overview
from tests.harness.waiting import until_async


def test_nothing_is_computed_once_nobody_watches_and_watchers_share_the_state() -> None:
    async def never(**_: Any) -> tuple[()]:
        await asyncio.Future()
        return ()

    async def scenario() -> None:
        disks = SimpleNamespace(refresh=lambda: None, shown=list, unanswered=[], want=lambda: None)
        parts: dict[str, Any] = {
            "gpus": SimpleNamespace(ask=never, readings=(), consequence=None),  # NVML hangs
            "show_gpus": list,
            "machine": SimpleNamespace(paused=False),
            "degraded": SimpleNamespace(reasons=list),
            "disks": disks,
        }
        registry = SimpleNamespace(counts=Counter(), changes=SimpleNamespace(instance="i"))
        overview = Overview(cast(Any, registry), **parts)
        sent: list[Any] = []

        async def send(reply: Any) -> None:
            sent.append(reply.state)

        watchers = [asyncio.create_task(overview.watch(mm.WatchMachineParameters(), send)) for _ in range(2)]

        async def both() -> bool:
            return len(sent) == 2

        await until_async(both, what="both watchers to get the state")
        assert sent[0] is sent[1]
        before = asyncio.all_tasks()
        assert any(task.get_name() == "machine-overview" for task in before)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        await asyncio.sleep(0)
        assert not any(task.get_name() == "machine-overview" for task in asyncio.all_tasks())

    asyncio.run(scenario())
