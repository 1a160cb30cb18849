# SPDX-License-Identifier: Apache-2.0
"""logind's sleep inhibitor, with the real logind: held where that is allowed, refused with the reason where not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.booted_machine import BootedMachine

pytestmark = pytest.mark.booted

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, os, subprocess
from fluxgymd.host.bus import inhibit_sleep
from fluxgymd.host.bus_types import BusError

def listed():
    return subprocess.run(["systemd-inhibit", "--list", "--no-legend"], capture_output=True, text=True).stdout.split()

async def main():
    try:
        held = await inhibit_sleep("A LoRA is being trained")
    except BusError as error:
        print("refused:", error)
        return
    print(listed())
    os.close(held)
    while listed():  # logind sees it a moment later
        pass
    print("released")

asyncio.run(main())
"""


def test_the_inhibitor_is_held_or_refused(booted_machine: BootedMachine) -> None:
    command, env = [sys.executable, "-W", "error", "-"], {"PYTHONPATH": str(ROOT)}
    held, released = booted_machine.run(command, env=env, input_text=PROGRAM).stdout.splitlines()
    for word in ("'fluxgymd'", "'sleep'", "'trained'", "'block'"):
        assert word in held
    assert released == "released"
    # A user without a local session may not keep the machine awake, and there is no polkit to ask.
    booted_machine.add_user("ada")
    refused = booted_machine.run(command, env=env, input_text=PROGRAM, user="ada").stdout
    assert refused == "refused: Permission denied\n"
