# SPDX-License-Identifier: Apache-2.0
"""A home with jobs of every kind, made once and copied for each group of damages.

Each start of a program adds a line to `starts/NAME`. The programs wait at the gate, a lock that the test holds, and
then exit with a status that nothing else uses.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from fluxgym.protocol import dataset_methods as d
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, program
from tests.data.frozen import record
from tests.store.files import LORA, our_state

STATUS = 7
# Programs run in the job's folder, home/outputs/NAME.
SCRIPT = (
    f'echo "$FLUXGYM_ATTEMPT_ID" >>../../../starts/"$FLUXGYM_JOB"; flock --shared ../../../gate true; exit {STATUS}'
)
DONE = """echo "$FLUXGYM_ATTEMPT_ID" >>../../../starts/"$FLUXGYM_JOB"; echo '{"files": []}' >result.json"""

FAILED = ("failed-0", "failed-1", "failed-2")
COMPLETED = ("completed-0", "completed-1", "completed-2")
WAITING = ("waiting-0", "waiting-1")
TRAINED = ("trained-0", "trained-1", "trained-2")
DATASETS = ("cats", "dogs", "signs")
CONFIG = "[stop]\nlimit_seconds = 30\n"
PICTURE = b"\x89PNG\r\n\x1a\n"


def daemon_in(folder: Path) -> RunningDaemon:
    env = {"XDG_CONFIG_HOME": str(folder / "config"), "FLUXGYM_QUEUE_PROGRAM_SLOTS": "4"}
    return RunningDaemon(folder, arguments=("--supervisor", "process"), env=env)


@contextmanager
def shut_gate(folder: Path) -> Iterator[None]:
    """Programs that run, or are started, wait until this context ends."""
    with (folder / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def make(folder: Path) -> None:
    """Makes the home below this folder. Its daemon has been stopped at the end."""
    (folder / "starts").mkdir()
    (folder / "gate").touch()
    config = folder / "config" / "fluxgym" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    daemon = daemon_in(folder)
    daemon.start()
    try:
        _live_through(daemon)
    finally:
        daemon.stop()
    for name in TRAINED:
        _trained(folder / "home" / "outputs" / name, name)


def _live_through(daemon: RunningDaemon) -> None:
    for name in FAILED:
        daemon.submit(program(name, SCRIPT))
        daemon.wait(name, State.FAILED)
    for name in COMPLETED:
        daemon.submit(program(name, DONE))
        daemon.wait(name, State.COMPLETED)
    daemon.call(mm.PAUSE, m.Nothing())  # from now on, a file records whether this machine's queue is paused
    daemon.call(mm.CONTINUE, m.Nothing())
    for name in WAITING:
        daemon.submit(program(name, SCRIPT, held=True))
    for number, name in enumerate(DATASETS):
        with tempfile.TemporaryDirectory(prefix="fg-") as pictures, Connection(daemon.socket) as connection:
            Image.new("RGB", (8, 8), (number, 0, 0)).save(Path(pictures, "a.png"))
            connection.call(d.CREATE_DATASET, d.DatasetName(name=name))
            added = list(connection.stream(d.ADD_PICTURES, d.AddParameters(name=name, path=pictures)))
        assert added[-1].added == 1, added


def _trained(folder: Path, name: str) -> None:
    """Copies a recorded training, and adds what the recording leaves out."""
    shutil.copytree(record.HERE / "v1" / "outputs" / "trained", folder)
    journal = folder / "events.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"name":"trained"', f'"name":"{name}"'.encode()))
    for lora in (f"{name}.safetensors", f"{name}-000004.safetensors"):
        (folder / lora).write_bytes(LORA)
    our_state(folder / f"{name}-000004-state")
    for below in ("dataset", "sample"):
        (folder / below).mkdir()
        (folder / below / "a.png").write_bytes(PICTURE)
    (folder / "dataset" / "a.txt").write_text("a cat")


def copy(template: Path, folder: Path) -> None:
    """Copies the home to another place."""
    for name in ("home", "state", "config", "starts", "gate"):
        source = template / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    os.truncate(folder / "gate", 0)
