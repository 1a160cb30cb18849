# SPDX-License-Identifier: Apache-2.0
"""What an attempt is started with."""

from pathlib import Path

import msgspec
import pytest

from fluxgym import config
from fluxgymd.core.job import Attempt, Job, Live, fold
from fluxgymd.jobs.spec import attempt_spec
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.choice import Trainers
from tests.core import histories as h


def running_on(gpus: list[str]) -> tuple[Job, Attempt]:
    job = fold(h.WAYS["running"])
    assert isinstance(job.state, Live)
    return job, msgspec.structs.replace(job.state.attempt, gpus=gpus)


@pytest.mark.parametrize("gpus", [[], ["GPU-1"], ["GPU-1", "GPU-2"]])
def test_a_training_sees_only_its_gpus_and_has_a_process_on_each(gpus: list[str], tmp_path: Path) -> None:
    loaded = config.load(
        {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        {"home": str(tmp_path), "trainer.python": "/t/bin/python", "trainer.path": "/t/sd-scripts"},
    )
    job, attempt = running_on(gpus)
    folder = JobFolder(tmp_path / "outputs" / "my-lora")
    trainer = Trainers(loaded).of(job.context)
    spec = attempt_spec(trainer, job, attempt, folder, loaded, {"SECRET_TOKEN": "x"})
    script = spec.argv.index("/t/sd-scripts/flux_train_network.py")
    assert spec.argv[0] == "/t/bin/python"
    assert ("--num_processes" in spec.argv[:script]) == (len(gpus) > 1)
    assert (script == 1) == (len(gpus) < 2)
    assert spec.environment["CUDA_VISIBLE_DEVICES"] == ",".join(gpus)
    # The launcher must not kill a process that is still saving.
    assert int(spec.environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) >= spec.stop_limit
    assert "SECRET_TOKEN" not in spec.environment
