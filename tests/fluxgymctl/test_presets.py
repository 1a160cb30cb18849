# SPDX-License-Identifier: Apache-2.0
"""The verb `preset`, and `submit --preset` and `--like`, with a real daemon and trainer."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Preset
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl, rows


def said(daemon: RunningDaemon, *words: str) -> str:
    """The output of a call that succeeds and has no remarks."""
    done = ctl(*words, socket=daemon.socket)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def material(spec: Path, tmp_path: Path) -> Path:
    """A spec file beside a copy of its pictures, which a test may delete."""
    shutil.copytree(spec.parent, tmp_path / "material")
    return tmp_path / "material" / spec.name


@pytest.fixture
def jobs(shared_daemon: RunningDaemon) -> Iterator[RunningDaemon]:
    """The shared daemon. The jobs and presets of the test are removed after it."""
    before = {job.context.name for job in shared_daemon.jobs()}
    yield shared_daemon
    for name in {job.context.name for job in shared_daemon.jobs()} - before:
        shared_daemon.remove(name)
    shutil.rmtree(shared_daemon.home / "presets", ignore_errors=True)


def test_presets_are_listed_and_shown_with_reasons(jobs: RunningDaemon) -> None:
    header, *lines = said(jobs, "preset").splitlines()
    assert header.split() == ["PRESET", "FROM", "WHAT", "IT", "IS", "FOR"]
    assert [line.split()[:2] for line in lines][:3] == [["12g", "FluxGym"], ["16g", "FluxGym"], ["20g", "FluxGym"]]
    shown = said(jobs, "preset", "show", "12G").splitlines()
    at = shown.index("trainer_options.blocks_to_swap = 18")
    assert shown[at + 1] == (
        "    The older FluxGym passed --split_mode, an older flag that sd-scripts turns into this one."
    )
    (row,) = rows(ctl("preset", "show", "person", "--json", socket=jobs.socket))
    assert msgspec.convert(row, Preset).settings.network_dim == 16


def test_a_job_gets_the_settings_of_presets_unless_others_are_given(jobs: RunningDaemon, material: Path) -> None:
    flags = ("--preset", "person", "--preset", "16G", "--epochs", "3", "-o", "highvram=false", "--hold")
    precise = ("-o", "mixed_precision=bf16")  # 8 bits need it, and the spec file says otherwise
    assert said(jobs, "submit", "face", "--file", str(material), *flags, *precise) == "face\n"
    context = jobs.job("face").context
    options = context.trainer_options or {}
    assert (context.epochs, context.network_dim) == (3, 16)
    assert options["network_alpha"] == ["16"]
    assert options["optimizer_type"] == ["adafactor"]
    assert options["highvram"] == ["false"]
    # What the spec file says precedes the presets, too.
    assert (context.repeats, context.resolution) == (1, 128)


def test_a_preset_is_made_of_a_job_and_a_job_like_another(jobs: RunningDaemon, material: Path) -> None:
    assert said(jobs, "submit", "first", "--file", str(material), "--hold", "-o", "ema_decay=0.5") == "first\n"
    first = jobs.job("first").context
    assert said(jobs, "preset", "save", "Mine", "--like", "first", "--about", "As I like it.") == "mine\n"
    (row,) = rows(ctl("preset", "show", "mine", "--json", socket=jobs.socket))
    saved = msgspec.convert(row, Preset)
    assert saved.settings.trainer_options == first.trainer_options
    assert (saved.settings.dataset, saved.settings.model, saved.about) == (None, None, "As I like it.")

    assert said(jobs, "submit", "second", "--like", "first", "--epochs", "2", "--hold") == "second\n"
    changed = msgspec.structs.replace(first, name="second", epochs=2)
    assert jobs.job("second").context == changed

    pictures = Path(str(first.dataset))
    shutil.rmtree(pictures)
    done = ctl("submit", "third", "--like", "first", "--hold", socket=jobs.socket)
    assert (done.returncode, done.stdout) == (0, "third\n")
    assert done.stderr == (
        f"fluxgymctl: {pictures} no longer exists, so the pictures that were copied for first are used.\n"
    )
    assert jobs.job("third").context.dataset == str(jobs.folder("first") / "dataset")
    said(jobs, "preset", "rm", "mine")


def test_a_job_like_one_of_a_stored_dataset_trains_that_dataset(jobs: RunningDaemon, material: Path) -> None:
    assert ctl("dataset", "create", "signs", socket=jobs.socket).returncode == 0
    made = ctl("dataset", "add", "signs", f"{material.parent}/pictures", socket=jobs.socket)
    assert made.returncode == 0, made.stderr
    assert said(jobs, "submit", "named", "--file", str(material), "--dataset", "signs", "--hold") == "named\n"
    assert said(jobs, "submit", "alike", "--like", "named", "--hold") == "alike\n"
    assert jobs.job("alike").context.dataset == jobs.job("named").context.dataset
    ctl("dataset", "rm", "signs", socket=jobs.socket)
    done = ctl("submit", "later", "--like", "named", "--hold", socket=jobs.socket)
    assert (done.returncode, done.stdout) == (0, "later\n"), done.stderr
    assert "signs no longer exists, so the pictures that were copied for named are used." in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("submit", "a", "--preset", "persn"), 2, "There is no preset persn; did you mean person?"),
        (("submit", "a", "--like", "nobody"), 3, "There is no job nobody."),
        (("preset", "show", "zzz"), 2, "There is no preset zzz; there are 12g, 16g, 20g, fast, person, product, "),
        (
            ("preset", "save", "a"),
            2,
            "There is nothing to save; give --like JOB, --preset NAME, flags or a spec file",
        ),
        (("preset", "save", "person", "--epochs", "3"), 4, "The preset person comes with FluxGym; choose another"),
        (("preset", "save", "a b", "--epochs", "3"), 2, "The name 'a b' is not valid"),
        (("preset", "save", "a", "--epochs", "0"), 2, "epochs is 0, but must be from 1 to 1000000 epochs."),
        (("preset", "save", "a", "--trigger-word", "x"), 2, "trigger_word belongs to one job, so a preset cannot"),
        (
            ("preset", "save", "a", "-o", "max_train_steps=3"),
            2,
            "trainer_options.max_train_steps cannot be given; us",
        ),
        (("preset", "rm", "person"), 4, "The preset person comes with FluxGym; it cannot be removed."),
    ],
)
def test_what_is_impossible_is_one_sentence(
    words: tuple[str, ...], status: int, sentence: str, jobs: RunningDaemon
) -> None:
    done = ctl(*words, socket=jobs.socket)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"fluxgymctl: {sentence}")
    assert done.stderr.count("\n") == 1
    assert not (jobs.home / "presets").exists()
