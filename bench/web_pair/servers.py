# SPDX-License-Identifier: Apache-2.0
"""The two servers before the same home: ours with its daemon, and the Gradio page that reads the files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from fluxgym import web_access
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.web.serving import RunningWeb, free_port

GRADIO = "gradio==6.31.0"
PAGE = Path(__file__).with_name("gradio_page.py")
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
"""Without these, Gradio asks hosts on the Internet when it starts."""


@dataclass(frozen=True)
class Server:
    """A server, and the job that its page has to show."""

    name: str
    port: int
    process: psutil.Process
    job: str
    """The newest job that has ended."""
    web: RunningWeb | None = None

    @property
    def usable(self) -> str:
        """What its page shows when it can be used."""
        return f"text={self.job} >> visible=true"

    def entrance(self, port: int) -> str:
        """An address that gives a browser access, through a port that leads to this server."""
        if self.web is None:
            return f"http://127.0.0.1:{port}/"
        return f"http://127.0.0.1:{port}/enter?code={web_access.new_link(self.web.state)}"

    def memory(self) -> float:
        """The proportional set size of its processes, in MB."""
        processes = [self.process, *self.process.children(recursive=True)]
        return round(sum(one.memory_full_info().pss for one in processes) / 1e6, 1)

    def cpu_seconds(self) -> float:
        return sum(sum(one.cpu_times()[:2]) for one in (self.process, *self.process.children(recursive=True)))


@contextmanager
def ours(folder: Path, daemon: Path, through: int, job: str) -> Iterator[Server]:
    """Our web server. `through`: another port under which browsers reach it."""
    web = RunningWeb(folder, daemon, arguments=("--allowed-host", f"127.0.0.1:{through}"))
    with web:
        assert web.process is not None
        yield Server("fluxgymweb", web.port, psutil.Process(web.process.pid), job, web)


@contextmanager
def gradio(python: Path, folder: Path, job: str, metrics: Path, log: Path) -> Iterator[Server]:
    """The Gradio page about one job of the home in `folder`, where its own files go too."""
    port = free_port()
    command: list[str | Path] = [python, PAGE, str(port), folder / "home/outputs", job, metrics, log]
    variables = {**os.environ, **QUIET, "GRADIO_TEMP_DIR": str(folder / "gradio-files")}
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: answers(port, process), what="Gradio to answer")
            yield Server("gradio", port, psutil.Process(process.pid), job)
        finally:
            process.kill()


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Gradio has ended"
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=DEADLINE_SECONDS, trust_env=False).is_success
    except httpx.TransportError:
        return False


def environment(folder: Path) -> Path:
    """A Python with Gradio."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=DEADLINE_SECONDS)
    subprocess.run([folder / "bin/pip", "install", "--quiet", GRADIO], check=True, timeout=900)
    return folder / "bin/python"
