# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/presets.md, each run as it is written, in their order."""

import re
import shlex
from pathlib import Path

from fluxgymd.trainers.settings import MODEL_FILES, TOKENIZERS
from tests.daemon.running import ROOT, RunningDaemon
from tests.fluxgymctl.program import ctl

TEXT = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    fluxgymctl (.+)$", TEXT, re.MULTILINE)
SUBMITTED = ["anna", "ben", "carla", "anna-2", "dora"]
OLD = """\
config:
  process:
  - network: {type: lora, linear: 8}
    train: {steps: 500, lr: 0.0002}
    model: {name_or_path: black-forest-labs/FLUX.1-dev, is_flux: true}
"""
"""Settings of ai-toolkit."""


def test_the_commands_in_the_document_work_as_written(daemon: RunningDaemon, spec: Path, tmp_path: Path) -> None:
    """The models are in the home, and the pictures in the current folder. The queue is paused: nothing is trained."""
    models = spec.parent / "models"
    files = ("flux1-dev", "clip_l", "t5xxl_fp16", "ae")
    for wanted, file in zip(MODEL_FILES.values(), files, strict=True):
        (daemon.home / wanted).parent.mkdir(parents=True, exist_ok=True)
        (daemon.home / wanted).symlink_to(models / f"{file}.safetensors")
    (daemon.home / TOKENIZERS).symlink_to(models / "tokenizers")
    assert ctl("pause", socket=daemon.socket).returncode == 0
    (tmp_path / "pictures").symlink_to(spec.parent / "pictures")
    (tmp_path / "old-settings.yaml").write_text(OLD)
    for command in COMMANDS:
        done = ctl(*shlex.split(command), socket=daemon.socket, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
    assert {job.context.name for job in daemon.jobs()} == set(SUBMITTED)
    assert daemon.job("carla").context.epochs == 12
    dora = daemon.job("dora").context
    assert (dora.network_dim, dora.learning_rate, dora.epochs) == (8, 2e-4, 4)
    assert (tmp_path / "anna-for-kohya" / "train.sh").is_file()
    assert daemon.job("anna-2").context.learning_rate == 2e-4
