# SPDX-License-Identifier: Apache-2.0
"""An independent client uses the interface: the varlink package from PyPI."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import varlink

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, context
from tests.harness.waiting import DEADLINE_SECONDS


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m varlink.cli`."""
    return subprocess.run(
        [sys.executable, "-m", "varlink.cli", *arguments], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )


def test_the_command_line_client_lists_calls_and_follows(daemon: RunningDaemon, model: Path) -> None:
    address = f"unix:{daemon.socket}"
    info = cli("info", address)
    assert info.returncode == 0, info.stderr
    assert "fluxgymd" in info.stdout
    assert "org.fluxgym.Jobs" in info.stdout

    text = cli("help", f"{address}/org.fluxgym.Jobs").stdout
    assert "method Submit" in text
    assert "# The training resolution, pixels. Default 512." in text

    answer = cli("call", f"{address}/org.fluxgym.Machine.Info", "{}")
    assert json.loads(answer.stdout)["home"] == str(daemon.home)

    refused = cli("call", f"{address}/org.fluxgym.Jobs.Describe", '{"name": "none"}')
    assert "org.fluxgym.Jobs.NoSuchJob" in refused.stdout + refused.stderr

    daemon.submit(context("my-lora", model, epochs=1))
    logs = cli("call", "--more", f"{address}/org.fluxgym.Jobs.Logs", '{"name": "my-lora", "follow": true}')
    assert logs.returncode == 0, logs.stderr
    assert "steps:" in logs.stdout
    daemon.wait("my-lora", State.COMPLETED)


def test_the_library_client_reads_the_interface_and_its_errors(daemon: RunningDaemon) -> None:
    with varlink.Client(address=f"unix:{daemon.socket}") as client:
        assert client.get_interfaces()
        with client.open("org.fluxgym.Jobs") as jobs:
            assert list(jobs.List(_more=True)) == [{}]
            with pytest.raises(varlink.VarlinkError) as refused:
                jobs.Stop("none")
            assert refused.value.error() == "org.fluxgym.Jobs.NoSuchJob"
            with pytest.raises(varlink.VarlinkError) as no_more:
                jobs.List()
            assert no_more.value.error() == "org.varlink.service.ExpectedMore"
