# SPDX-License-Identifier: Apache-2.0
"""One client makes many requests that take long, and another makes short ones: 30 submits with optimizer arguments,
each of which makes the trainer import torch."""

import fcntl
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context
from fluxgymd.trainers import asking
from tests.daemon.running import ROOT, RunningDaemon, context
from tests.harness.waiting import DEADLINE_SECONDS, join, until
from tests.trainers.talking import TalkingTrainer

SUBMITS = 30

TAKES_LONG = """
if "--optimizer_args" in sys.argv:
    if {speaks_briefly} and os.environ.get("FLUXGYM_CHECK") == "briefly":
        print('{{"takesLong": true, "problems": [], "warnings": []}}')
        sys.exit()
    with (here / "long").open("a") as file:
        file.write("x")
    import fcntl
    fcntl.flock((here / "gate").open(), fcntl.LOCK_SH)
"""
"""Makes the trainer's check of optimizer arguments wait until the test opens the gate."""


@contextmanager
def busy_with_long_submits(folder: Path, model: Path, *, speaks_briefly: bool) -> Iterator[RunningDaemon]:
    """A daemon with 30 long submits, as many of which are in progress as one client may have. In the end each is
    answered as if it had been the only one."""
    trainer = TalkingTrainer(folder / "trainer")
    script = trainer.script.read_text()
    asked = script.index("asked = ")
    trainer.script.write_text(script[:asked] + TAKES_LONG.format(speaks_briefly=speaks_briefly) + script[asked:])
    (trainer.path / "gate").touch()
    (trainer.path / "long").touch()
    env = {"FLUXGYM_TRAINER_PATH": str(trainer.path), "FLUXGYM_TRAINER_PYTHON": sys.executable}
    answered: list[str] = []

    def submit(number: int) -> None:
        answered.append(daemon.submit(with_arguments(model, number)).job.context.name)

    process = ("--supervisor", "process")
    with RunningDaemon(folder, arguments=process, env=env) as daemon, (trainer.path / "gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        clients = [threading.Thread(target=submit, args=(number,)) for number in range(SUBMITS)]
        for client in clients:
            client.start()
        most = asking.AT_ONCE // 2
        until(lambda: len((trainer.path / "long").read_text()) >= most, what="the first of them to be asked about")
        yield daemon
        assert answered == []
        assert len((trainer.path / "long").read_text()) == most
        fcntl.flock(gate, fcntl.LOCK_UN)
        for client in clients:
            join(client)
        assert len(answered) == SUBMITS


def with_arguments(model: Path, number: int) -> Context:
    job = context(f"long-{number}", model, held=True)
    options = (job.trainer_options or {}) | {"optimizer_args": [f"eps=1e-{number}"]}
    return msgspec.structs.replace(job, trainer_options=options)


@pytest.mark.parametrize("speaks_briefly", [True, False])
def test_promise_10_thirty_long_submits_delay_no_other_session(
    folder: Path, model: Path, speaks_briefly: bool
) -> None:
    with busy_with_long_submits(folder, model, speaks_briefly=speaks_briefly) as daemon:
        job = msgspec.json.encode(m.SubmitParameters(job=context("honest", model, held=True))).decode()
        call = (
            "import json, sys; from pathlib import Path; from fluxgym.protocol import methods as m; import msgspec\n"
            "from fluxgym.protocol.client import Connection\n"
            "parameters = msgspec.json.decode(sys.argv[2], type=m.SubmitParameters)\n"
            "with Connection(Path(sys.argv[1])) as daemon:\n"
            "    print(json.dumps(daemon.call(m.SUBMIT, parameters).job.context.name))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", call, str(daemon.socket), job],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            start_new_session=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == "honest"


def test_promise_10_thirty_long_submits_delay_no_ordinary_one_of_the_same_client(folder: Path, model: Path) -> None:
    with busy_with_long_submits(folder, model, speaks_briefly=True) as daemon:
        answer: list[str] = []
        ordinary = context("honest", model, held=True)
        honest = threading.Thread(target=lambda: answer.append(daemon.submit(ordinary).job.context.name))
        honest.start()
        join(honest)
        assert answer == ["honest"]
