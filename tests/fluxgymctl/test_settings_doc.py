# SPDX-License-Identifier: Apache-2.0
"""docs/settings.md: it has every field of a job, and its commands work as written, in their order."""

import re
import shlex
import shutil
from pathlib import Path

import msgspec

from fluxgym.protocol.messages import Context, Part, TriggerPlace
from fluxgymd.trainers import kohya
from fluxgymd.trainers.settings import MODEL_FILES, TOKENIZERS
from tests.daemon.running import ROOT, RunningDaemon
from tests.fluxgymctl.program import ctl

TEXT = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    fluxgymctl (.+)$", TEXT.replace("\\\n", " "), re.MULTILINE)
(SPEC,) = re.findall(r"^    # cat\.toml\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE)
(PETS,) = re.findall(r"^    # pets\.toml\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE)
FIRST_CELLS = " ".join(re.findall(r"^\| (`.+?) \|", TEXT, re.MULTILINE))


def test_it_has_every_field_of_a_job() -> None:
    assert set(re.findall(r"`(\w+)`", FIRST_CELLS)) >= set(Context.__struct_fields__)


def test_it_has_every_flag_that_a_field_replaces() -> None:
    assert set(re.findall(r"`(\w+)`", FIRST_CELLS)) >= {*kohya.REPLACED, kohya.ENABLE_BUCKET}
    told = set(re.findall(r"--(\w+)", TEXT))
    assert told >= set(kohya.SETTINGS) - {"dataset_config"}


def test_its_commands_work_as_written(daemon: RunningDaemon, spec: Path) -> None:
    """The models are in the home, and the pictures in the current folder. The queue is paused: nothing is trained."""
    files = ("flux1-dev", "clip_l", "t5xxl_fp16", "ae")
    for wanted, file in zip(MODEL_FILES.values(), files, strict=True):
        (daemon.home / wanted).parent.mkdir(parents=True, exist_ok=True)
        (daemon.home / wanted).symlink_to(spec.parent / "models" / f"{file}.safetensors")
    (daemon.home / TOKENIZERS).symlink_to(spec.parent / "models" / "tokenizers")
    (spec.parent / "cat.toml").write_text(re.sub("^    ", "", SPEC, flags=re.MULTILINE))
    shutil.copytree(spec.parent / "pictures", spec.parent / "others")
    (spec.parent / "pets.toml").write_text(re.sub("^    ", "", PETS, flags=re.MULTILINE))
    assert ctl("pause", socket=daemon.socket).returncode == 0
    for command in COMMANDS:
        done = ctl(*shlex.split(command), socket=daemon.socket, cwd=spec.parent)
        assert done.returncode == 0, (command, done.stderr)
    jobs = {job.context.name: job.context for job in daemon.jobs()}
    assert (jobs["cat"].epochs, jobs["cat"].learning_rate) == (24, 4e-4)
    assert jobs["sizes"].resolutions == [512, 768]
    assert (jobs["cat-2"].resolution, jobs["cat-2"].trainer_options) == (768, {"network_alpha": ["16"]})
    assert (jobs["style"].trigger_place, jobs["squares"].enable_bucket) == (TriggerPlace.MISSING, False)
    others = Part(dataset=str(spec.parent / "others"), regularisation=True)
    pictures = Part(dataset=str(spec.parent / "pictures"), repeats=10)
    assert jobs["one-cat"].parts == [
        msgspec.structs.replace(pictures, repeats=None),
        msgspec.structs.replace(others, repeats=1, caption="a cat"),
    ]
    assert jobs["pets"].parts == [pictures, msgspec.structs.replace(others, repeats=2, regularisation=None)]
    assert jobs["pets-2"].parts == [pictures, msgspec.structs.replace(others, caption="a cat, indoors")]
    assert jobs["quick"].trainer_options == {"train_batch_size": ["2"], "network_alpha": ["false"]}
