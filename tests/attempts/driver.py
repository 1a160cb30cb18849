# SPDX-License-Identifier: Apache-2.0
"""A small daemon for the contract suite. It reads commands from stdin and writes answers to stdout, as JSON lines.

    driver.py scope|process STOP_LIMIT

It runs inside the test's namespace and can be killed like a daemon. It keeps no state that its successor would need:
what is known of an attempt travels back and forth as its AttemptRef.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from fluxgymd.attempts import place, processes
from fluxgymd.attempts.environment import job_environment
from fluxgymd.attempts.gate import ShimGate, until_gone
from fluxgymd.attempts.port import Adapter, AttemptRef, AttemptSpec, Refused
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.attempts.scope import ScopeAdapter
from fluxgymd.core.evidence import conclude
from fluxgymd.host.bus import BusThread
from fluxgymd.host.bus_types import BusError, Property

Json = dict[str, Any]


class Driver:
    def __init__(self, adapter: Adapter, bus: BusThread, *, stop_limit: float) -> None:
        self.adapter = adapter
        self.bus = bus
        self.stop_limit = stop_limit
        self.gates: list[ShimGate] = []
        self.verbs: dict[str, Callable[[Json], Awaitable[Any]]] = {
            "start": self.start,
            "look": self.look,
            "processes": self.processes,
            "gone": lambda asked: self.adapter.gone(ref_of(asked)),
            "terminate": lambda asked: self.adapter.send_signal(ref_of(asked), signal.SIGTERM),
            "tell": lambda asked: self.adapter.send_signal(ref_of(asked), signal.Signals(asked["number"])),
            "request": self.request,
            "rouse": lambda asked: self.adapter.rouse(ref_of(asked)),
            "stop": lambda asked: self.adapter.stop(ref_of(asked)),
            "kill": lambda asked: self.adapter.kill(ref_of(asked)),
            "clear": lambda asked: self.adapter.clear(ref_of(asked)),
            "problem": lambda _: self.adapter.problem(),
            "manager_stays": lambda _: self.adapter.manager_stays(),
            "signal": self.send,
            "children": self.children,
            "state": self.state,
            "make_scope": self.make_scope,
            "ping": lambda _: self.bus.ping(),
            "connected": lambda _: self.bus.connected(deadline=30),
        }

    async def start(self, asked: Json) -> Json:
        """Starts an attempt up to `until`: spawned, placed or open. `kill_shim`: kills the shim at its gate."""
        folder = Path(asked["folder"])
        mark = secrets.token_hex(16)
        spec = AttemptSpec(
            job="test",
            unit=asked["unit"],
            folder=folder,
            log=Path(asked["log"]),
            argv=tuple(asked["argv"]),
            environment=job_environment(os.environ) | {processes.MARK: mark},
            cwd=Path(asked.get("cwd", "/")),
            stop_limit=self.stop_limit,
        )
        gate = await self.adapter.spawn(spec)
        assert isinstance(gate, ShimGate)
        self.gates.append(gate)
        placement = None
        if asked.get("kill_shim"):
            os.kill(gate.shim.pid, signal.SIGKILL)
            await until_gone(gate.shim)
        if asked["until"] != "spawned":
            try:
                placement = await self.adapter.place(spec, gate)
            except Refused:
                gate.close()
                raise
        if asked["until"] == "open":
            gate.open()
        ref = AttemptRef(
            unit=spec.unit, folder=folder, mark=mark, place=place.here(), shim=gate.shim, placement=placement
        )
        return {"ref": msgspec.to_builtins(ref, enc_hook=str)}

    async def request(self, asked: Json) -> list[bool]:
        """Whether the process that does the training would take the signal, and whether it got it."""
        number, launched = signal.Signals(asked["number"]), bool(asked["launched"])
        would = await self.adapter.handles(ref_of(asked), number, launched=launched)
        return [would, await self.adapter.request(ref_of(asked), number, launched=launched)]

    async def look(self, asked: Json) -> Json:
        return described(await self.adapter.evidence(ref_of(asked)))

    async def processes(self, asked: Json) -> list[int]:
        return [process.pid for process in await self.adapter.processes(ref_of(asked))]

    async def send(self, asked: Json) -> None:
        os.kill(asked["pid"], asked["number"])

    async def state(self, asked: Json) -> str:
        """The state of a process, as the letter in /proc/PID/stat."""
        return await asyncio.to_thread(state_of, asked["pid"])

    async def make_scope(self, asked: Json) -> str:
        properties = [Property("PIDs", "au", [asked["pid"]]), Property("CollectMode", "s", "inactive-or-failed")]
        return await self.bus.start_transient_scope(asked["unit"], properties)

    async def children(self, asked: Json) -> list[str]:
        """The states of a process's children, as letters."""
        return await asyncio.to_thread(states_of_children, asked["pid"])


def states_of_children(pid: int) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [state_of(child) for child in children]


def state_of(pid: int | str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ref_of(asked: Json) -> AttemptRef:
    return msgspec.convert(asked["ref"], AttemptRef, dec_hook=lambda kind, value: kind(value))


def described(evidence: Any) -> Json:
    conclusion = conclude(evidence)
    return {
        "conclusion": type(conclusion).__name__,
        "why": getattr(conclusion, "why", None),
        "exit": msgspec.to_builtins(evidence.exit),
        "populated": evidence.populated,
        "supervised": evidence.supervised,
        "trainer": evidence.trainer.value,
        "started": evidence.started,
    }


async def main() -> None:
    kind, limit = sys.argv[1], float(sys.argv[2])
    bus = BusThread(os.environ["DBUS_SESSION_BUS_ADDRESS"], prefix="fluxgym-")
    await bus.start()
    adapter: Adapter = ScopeAdapter(bus, stop_limit=limit) if kind == "scope" else ProcessAdapter(stop_limit=limit)
    driver = Driver(adapter, bus, stop_limit=limit)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        asked = json.loads(line)
        try:
            answer: Json = {"value": await driver.verbs[asked["verb"]](asked)}
        except (Refused, BusError, OSError, TimeoutError) as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        print(json.dumps(answer), flush=True)
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main())
