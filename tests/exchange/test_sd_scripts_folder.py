# SPDX-License-Identifier: Apache-2.0
"""Tests of a training as files for sd-scripts: a shell reads from train.sh the words that the job would have, and
sd-scripts knows each flag."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Model
from fluxgymd.exchange.sd_scripts_folder import OURS_ALONE, export
from fluxgymd.importing.script import Flags, flags
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import flag_kinds, settings
from tests.daemon.running import ROOT
from tests.harness.waiting import DEADLINE_SECONDS

RECORDED = ROOT / "tests" / "trainers" / "data" / "sd-scripts-kinds.json"
THEIRS = flag_kinds.by_name(msgspec.json.decode(RECORDED.read_bytes(), type=list[flag_kinds.Flag]))
FOLDER = JobFolder(Path("/home/fg/outputs/cat"))
ODD = 'it\'s a $HOME `dir`; "x" é'


def job(**given: object) -> Context:
    context = Context(name="cat", dataset="/pictures", **given)  # type: ignore[arg-type]
    return settings.complete_training(context, Path("/home/fg"))


def run(context: Context, folder: Path, *further: str) -> Flags:
    """Runs the exported script with a program that writes its words in the place of Python."""
    folder.mkdir(parents=True)
    for name, data in export(context, FOLDER).files.items():
        (folder / name).write_bytes(data)
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf \'%s\\0\' "$(pwd)" "$@"\n')
    python.chmod(0o700)
    upstream = folder.parent / "sd's scripts"
    upstream.mkdir()
    done = subprocess.run(
        ["sh", folder / "train.sh", *further],
        env={"SD_SCRIPTS": "sd's scripts", "PYTHON": str(python), "PATH": "/usr/bin:/bin", "CDPATH": "/"},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    where, *words = done.stdout.split("\0")[:-1]
    assert where == str(folder)
    assert f"{upstream}/flux_train_network.py" in words
    return flags(words[words.index(f"{upstream}/flux_train_network.py") + 1 :])


def test_a_shell_reads_the_words_of_the_job(tmp_path: Path) -> None:
    context = job(
        trigger_word="O'Keeffe",
        sample_prompts=["a cat --w 64"],
        sample_every_epochs=1,
        model=Model(transformer=f"/models/{ODD}/flux.sft"),
        trainer_options={"training_comment": [ODD], "caption_prefix": ["-dash"], "fp8_base": []},
    )
    given = run(context, tmp_path / ODD.replace("/", ""), "--seed", "7")
    assert given["pretrained_model_name_or_path"] == [f"/models/{ODD}/flux.sft"]
    assert (given["training_comment"], given["caption_prefix"], given["fp8_base"]) == ([ODD], ["-dash"], [])
    assert (given["dataset_config"], given["output_dir"], given["output_name"]) == (
        ["dataset.toml"],
        ["output"],
        ["cat"],
    )
    assert (given["sample_prompts"], given["seed"]) == (["sample_prompts.txt"], ["7"])
    assert "gradient_checkpointing" in given  # our trainer chooses, but sd-scripts does not
    assert given.keys() <= THEIRS.keys()
    files = export(context, FOLDER).files
    (subset,) = tomllib.loads(files["dataset.toml"].decode())["datasets"][0]["subsets"]
    assert (subset["image_dir"], subset["num_repeats"]) == ("dataset", 10)
    assert files["sample_prompts.txt"] == b"a cat --w 64\n"


def test_what_sd_scripts_does_not_take_is_left_out_and_reported(tmp_path: Path) -> None:
    context = job(
        trainer_options={
            "vram": ["16"],
            "ema_decay": ["false"],
            "caption_dropout_rate": ["0.1"],
            "network_weights": ["old/a.safetensors"],
        }
    )
    notes = export(context, FOLDER).notes
    assert notes == [
        "trainer_options.vram is left out: only FluxGym's trainer has this flag.",
        "The cache of the captions is turned off: sd-scripts caches them as they are in their files.",
    ]
    given = run(context, tmp_path / "a")
    assert not given.keys() & {"vram", "ema_decay", "cache_text_encoder_outputs"}
    assert given["network_weights"] == ["/home/fg/outputs/cat/old/a.safetensors"]
    assert "sample_prompts.txt" not in export(context, FOLDER).files


def test_several_gpus_are_started_by_accelerate() -> None:
    script = export(job(gpu_count=2), FOLDER).files["train.sh"].decode()
    words = shlex.split(script.rpartition("exec ")[2])
    assert words[1:5] == ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes"]
    assert words[5] == "2"


@pytest.mark.parametrize("text", [(ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")])
def test_the_flags_that_only_our_trainer_has_are_known(text: str) -> None:
    ours = set(
        re.findall(r"^\| `--(\w+)` \| .+? \| .+? \| (?!not supported)(?!no effect: ).+\|$", text, re.MULTILINE)
    )
    assert ours - THEIRS.keys() == set(OURS_ALONE)
