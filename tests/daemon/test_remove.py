# SPDX-License-Identifier: Apache-2.0
"""A client that has been told that a job ended can remove it."""

from pathlib import Path

from fluxgym import methods as m
from fluxgym.client import Connection
from fluxgym.messages import State
from tests.daemon.running import RunningDaemon, context

JOBS = 3


def test_a_job_can_be_removed_at_the_moment_its_end_is_reported(folder: Path, model: Path) -> None:
    trainer = folder / "trainer"
    trainer.mkdir()
    (trainer / "flux_train_network.py").write_text("raise SystemExit(1)\n")
    env = {"FLUXGYM_TRAINER_PATH": str(trainer)}
    with RunningDaemon(folder, env=env, arguments=("--supervisor", "process")) as daemon:
        for number in range(JOBS):
            name = f"job-{number}"
            daemon.submit(context(name, model, trainer_options={}))
            with Connection(daemon.socket) as watching:
                for change in watching.stream(m.WATCH, m.WatchParameters(name=name)):
                    if change.job is not None and change.job.runtime.state is State.FAILED:
                        break
            daemon.call(m.REMOVE, m.JobName(name=name))
        assert daemon.jobs() == []
