# SPDX-License-Identifier: Apache-2.0
"""A web server for a test, in its own process, and clients with and without access."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from tests.harness.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


class RunningWeb:
    """A web server: `with RunningWeb(folder, daemon.socket) as web:`."""

    def __init__(self, folder: Path, daemon: Path, *, arguments: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.state = folder / "state/fluxgym/web"
        self.log = folder / "web.log"
        self._arguments = arguments
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "XDG_STATE_HOME": str(folder / "state"),
            "FLUXGYM_SOCKET": str(daemon),
            "PYTHONPATH": str(ROOT),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.kill()

    def start(self) -> None:
        """Starts the server; returns once it answers."""
        command = [sys.executable, "-m", "fluxgymweb", "--port", str(self.port), *self._arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        until(self._answers, what="the web server to answer")

    def stop(self) -> None:
        """Stops it with SIGTERM. Its exit status must be 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=DEADLINE_SECONDS)
        self.process = None
        assert status == 0, f"fluxgymweb left with {status}:\n{self.log.read_text()}"

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=DEADLINE_SECONDS)
        self.process = None

    @property
    def token(self) -> str:
        return (self.state / "token").read_text().strip()

    def client(self, **headers: str) -> httpx.Client:
        """A client with the token."""
        given = {"Authorization": f"Bearer {self.token}", "X-Fluxgym": "1", **headers}
        return httpx.Client(base_url=self.base, headers=given, timeout=DEADLINE_SECONDS, trust_env=False)

    def stranger(self) -> httpx.Client:
        """A client without the token, like that of another user of this machine."""
        return httpx.Client(base_url=self.base, timeout=DEADLINE_SECONDS, trust_env=False)

    def call(self, method: str, **parameters: Any) -> httpx.Response:
        with self.client() as client:
            return client.post(f"/api/v1/{method}", json=parameters)

    def _answers(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"fluxgymweb left with {status}:\n{self.log.read_text()}"
        try:
            with self.stranger() as client:
                return client.get("/").status_code == 401
        except httpx.TransportError:
            return False


class Stream:
    """The events of one connection, and the place to continue from."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last_id: str | None = None

    def events(self) -> Iterator[tuple[str, Any]]:
        """Each event with its data."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                self.last_id = fields.get("id", self.last_id)
                yield fields["event"], json.loads(fields["data"])
                fields = {}
            else:
                fields = {}

    def until(self, event: str) -> Any:
        """The data of the next event with this name."""
        return next(data for name, data in self.events() if name == event)


@contextmanager
def live(web: RunningWeb, last_id: str | None = None, **wanted: str) -> Iterator[Stream]:
    """An open event stream."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with web.client(**headers) as client, client.stream("GET", "/api/v1/live", params=wanted) as answer:
        assert answer.status_code == 200, answer.read()
        yield Stream(answer.iter_lines())
