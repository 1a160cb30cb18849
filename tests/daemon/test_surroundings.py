# SPDX-License-Identifier: Apache-2.0
"""The working directory and the variables with which a daemon is started do not affect its jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from tests.daemon.running import DONE, RunningDaemon, context, popen_here, program
from tests.fluxgym.surroundings import ASCII, EMPTY
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.waiting import until

MODULES = ("array", "json", "msgspec", "PIL", "pynvml", "random", "selectors", "struct", "subprocess")


def test_modules_in_the_working_directory_are_not_imported(
    folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A user service starts in the user's home, where the user's own scripts may have these names."""
    nvml = Nvml(build(tmp_path_factory.mktemp("nvml")), folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"))
    (working := folder / "working").mkdir()
    for name in MODULES:
        (working / f"{name}.py").write_text(f"open({str(working / 'imported')!r}, 'a').write({name!r} + ' ')\n")

    def popen_there(command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
        return popen_here(["sh", "-c", 'cd "$0" && exec "$@"', working, *command], env)

    with RunningDaemon(
        folder, popen=popen_there, arguments=("--supervisor", "process"), env=nvml.environment
    ) as daemon:
        until(lambda: daemon.call(mm.GPUS, m.Nothing()).gpus, what="the GPU to be seen")
        daemon.submit(context("lora", model, held=True))
        assert daemon.job("lora").runtime.state is State.QUEUED
        assert daemon.info().degraded == []
    assert not (working / "imported").exists(), (working / "imported").read_text()


def test_a_home_with_any_characters_works_in_a_locale_without_them(folder: Path, model: Path) -> None:
    daemon = RunningDaemon(folder / "hé 家", arguments=("--supervisor", "process"), env=ASCII | {"LANG": "C"})
    daemon.home.parent.mkdir()
    with daemon:
        assert daemon.info().home == str(daemon.home)
        daemon.submit(context("lora", model, epochs=1))
        daemon.wait("lora", State.COMPLETED)
        assert (daemon.folder("lora") / "lora.safetensors").exists()


def test_empty_variables_count_as_unset(folder: Path) -> None:
    env = dict.fromkeys((*EMPTY, "NOTIFY_SOCKET", "WATCHDOG_USEC", "DBUS_SESSION_BUS_ADDRESS", "LISTEN_FDS"), "")
    script = f"/usr/bin/env >environment; {DONE}"

    def popen_without_path(command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
        assert command[0] == "sh"
        with_path = {name: value for name, value in env.items() if name != "PATH"}
        return popen_here(["/bin/sh", "-c", 'export PATH=; exec /bin/sh "$@"', *command], with_path)

    daemon = RunningDaemon(folder, popen=popen_without_path, arguments=("--supervisor", "process"), env=env)
    with daemon:
        daemon.submit(program("program", script))
        daemon.wait("program", State.COMPLETED)
        lines = (daemon.folder("program") / "environment").read_text().splitlines()
    assert [line for line in lines if line.endswith("=")] == ["CUDA_VISIBLE_DEVICES="]
