# SPDX-License-Identifier: Apache-2.0
"""--check_job reports all problems of a training as JSON, in the sentences with which the training would refuse."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from library import gpu
from library.check import job_check, survey
from library.errors import TrainerError
from library.findings import Findings, whole_sentence
from library.options.arguments import parse, read
from library.train import preflight
from tests.sd_scripts.check.asking import Answer, ask
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import DEADLINE_SECONDS, PROGRAM, Models, Settings


def problems(settings: Settings, words: str = "") -> list[tuple[str, str | None]]:
    """(kind, setting) of each problem."""
    return [(one["kind"], one["setting"]) for one in ask(settings, words)["problems"]]


def test_the_program_prints_one_object_and_writes_nothing(settings: Settings) -> None:
    words = [*settings.plus("--check_job --learning_rat 1 --clip_l gone.safetensors").arguments()]
    before = sorted(settings.folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=DEADLINE_SECONDS, cwd="/"
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    told = [(one["kind"], one["setting"], one["path"]) for one in json.loads(done.stdout)["problems"]]
    assert told == [
        ("command_line", "learning_rat", None),
        ("missing_file", "clip_l", "/gone.safetensors"),
    ]
    assert sorted(settings.folder.rglob("*")) == before


def test_an_ordinary_job_is_answered_without_torch(settings: Settings) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); sys.argv[0] = 'x'\n"
        "from library.options.arguments import read\n"
        "from library.check import job_check\n"
        "print(job_check.answer(read(sys.argv[1:]), processes=1))\n"
        "assert 'torch' not in sys.modules"
    )
    words = settings.with_samples().plus("--check_job --lr_scheduler cosine --lr_warmup_steps 2").arguments()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == []


@pytest.mark.parametrize(
    ("words", "takes_long"),
    [
        ("", False),
        ("--lr_scheduler cosine --lr_warmup_steps 2", False),
        ("--optimizer_args eps=1e-7", True),
        ("--optimizer_type Adafactor", True),
        ("--network_args rank_dropout=0.1", True),
        ("--resume gone-state", True),
    ],
)
def test_asked_for_a_brief_answer_it_says_what_takes_long_and_looks_at_nothing(
    settings: Settings, words: str, takes_long: bool
) -> None:
    line = read([*settings.plus(f"--clip_l gone.safetensors --check_job {words}").arguments()])
    told: Answer = json.loads(job_check.answer(line, processes=1, briefly=True))
    assert told.get("takesLong", False) == takes_long
    assert [one["setting"] for one in told["problems"]] == ([] if takes_long else ["clip_l"])


def test_a_brief_answer_is_asked_for_in_the_environment(settings: Settings) -> None:
    words = settings.plus("--check_job --optimizer_args eps=1e-7").arguments()
    done = subprocess.run(
        [sys.executable, PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env={**os.environ, "FLUXGYM_CHECK": "briefly"},
    )
    assert json.loads(done.stdout) == {"format": 1, "takesLong": True, "problems": [], "warnings": []}, done.stderr


def test_a_job_without_problems_has_a_plan_and_names_its_files(settings: Settings, models: Models) -> None:
    found = ask(settings.with_samples(), "--gradient_accumulation_steps 2")
    assert (found["problems"], found["warnings"], found["state"]) == ([], [], None)
    sizes = {name: found["plan"].pop(name) for name in ("loraBytes", "stateBytes")}
    assert found["plan"] == {
        "pictures": 3,
        "repeatedPictures": 6,
        "batchesPerEpoch": 6,
        "stepsPerEpoch": 3,
        "totalSteps": 9,
        "totalEpochs": 3,
        "firstStep": 0,
        "loras": 3,
        "lorasKept": 3,
        "states": 3,
        "statesKept": 3,
        "samples": 8,
        "validations": 0,
    }
    files = set(found["files"])
    assert {str(settings.pictures), str(settings.pictures / "0.png"), str(settings.pictures / "0.txt")} <= files
    assert {str(settings.folder / "dataset.toml"), str(settings.folder / "prompts.txt")} <= files
    assert {str(path) for path in models.folder.glob("*.safetensors")} <= files
    assert any("tokenizers" in path for path in files)
    outcome = run(settings.plus("--max_train_epochs 1 --save_state_on_train_end"))
    assert outcome.error is None
    lora = (settings.output_dir / "lora.safetensors").stat().st_size
    state = sum(path.stat().st_size for path in (settings.output_dir / "lora-state").iterdir())
    # The sizes count tensors alone. In a training of real size, headers and pickles are small beside them.
    assert 0 <= lora - sizes["loraBytes"] < 50_000
    assert 0 <= state - sizes["stateBytes"] < 100_000


def empty(path: Path) -> None:
    path.write_bytes(b"")


def blank(path: Path) -> None:
    path.write_bytes(b" \n")


def cp1252(path: Path) -> None:
    path.write_bytes(b"the cat\x92s sign")


def utf16(path: Path) -> None:
    path.write_bytes("a sign".encode("utf-16"))


@pytest.mark.parametrize("spoil", [empty, blank, cp1252, utf16])
def test_each_caption_that_cannot_be_used_is_told(spoil: Callable[[Path], None], settings: Settings) -> None:
    for name in ("0.txt", "2.txt"):
        spoil(settings.pictures / name)
    found = ask(settings)
    assert [(one["kind"], one["setting"]) for one in found["problems"]] == [("dataset", "dataset_config")] * 2
    assert all(f"/{name}" in one["sentence"] for one, name in zip(found["problems"], ("0.txt", "2.txt"), strict=True))
    assert found["plan"] is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--optimizer_type bogus", [("optimizer", "optimizer_type")]),
        ("--optimizer_type no.such.Optimizer", [("optimizer", "optimizer_type")]),
        ("--optimizer_args weight_decoy=1", [("optimizer", "optimizer_args")]),
        ("--lr_scheduler_type no.such.Schedule", [("optimizer", "lr_scheduler_type")]),
        ("--lr_scheduler polynomial --learning_rate 1e-8", [("optimizer", "lr_scheduler_args")]),
        ("--learning_rate 0", [("optimizer", "learning_rate")]),
        ("--network_args train_double_block_indices=0-7", [("command_line", "network_args")]),
        ("--network_args rank=4", [("command_line", "network_args")]),
        ("--network_args network_reg_dims=.*=0", [("command_line", "network_args")]),
        ("--learning_rate 0 --network_args network_reg_lrs=none=1", [("optimizer", "learning_rate")]),
        ("--initial_epoch 9", [("command_line", "initial_epoch")]),
        ("--blocks_to_swap 400", [("command_line", "blocks_to_swap")]),
        (
            "--network_dim 0 --seed -1 --bogus 1 --fp8_base",
            [("command_line", name) for name in ("network_dim", "seed", "bogus", "fp8_base")],
        ),
        ("--resume gone-state", [("missing_file", "resume")]),
        ("--network_weights gone.safetensors", [("missing_file", "network_weights")]),
        ("--sample_prompts gone.txt", [("missing_file", "sample_prompts")]),
        ("--dataset_config gone.toml", [("missing_file", "dataset_config")]),
        ("--config_file gone.toml", [("missing_file", "config_file")]),
        (f"--output_name {'x' * 240}", [("output", "output_name")]),
        ("--output_dir /dev/null/out", [("output", "output_dir")]),
    ],
)
def test_kinds_and_settings(words: str, expected: list[tuple[str, str]], settings: Settings) -> None:
    assert problems(settings, words) == expected


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        ({"ae": "flux1-dev", "pretrained_model_name_or_path": "ae"}, 2),
        ({"clip_l": "t5xxl_fp16", "t5xxl": "clip_l"}, 2),
        ({"t5xxl": "ae"}, 1),
    ],
)
def test_models_in_each_others_place(flags: dict[str, str], kinds: int, settings: Settings, models: Models) -> None:
    words = " ".join(f"--{flag} {models.folder / name}.safetensors" for flag, name in flags.items())
    found = ask(settings, words)
    assert sorted(one["setting"] for one in found["problems"]) == sorted(flags)
    assert [one["kind"] for one in found["problems"]] == ["model"] * kinds


def test_folders_of_pictures_that_are_not_there(settings: Settings) -> None:
    line = read([*settings.plus("--train_data_dir gone --reg_data_dir gone").arguments()])
    options = dataclasses.replace(line.options, dataset_config=None)
    for folders, sentence in (
        ({}, "--train_data_dir: there is no folder gone."),
        ({"train_data_dir": settings.pictures}, "--reg_data_dir: there is no folder gone."),
    ):
        findings = Findings()
        wanted = dataclasses.replace(options, **folders)
        survey.run(wanted, findings, processes=1, on_gpu=False)
        assert [(one.kind, one.sentence) for one in findings.problems] == [("missing_file", sentence)]


def test_a_size_of_the_command_line_is_not_blamed_on_the_file(settings: Settings) -> None:
    (problem,) = ask(settings, "--resolution big")["problems"]
    assert problem["sentence"].startswith("The command line: resolution = 'big' is not a number of pixels")


def test_a_missing_tokenizer_is_told_where_it_is_needed(settings: Settings, models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models.folder, folder, ignore=shutil.ignore_patterns("tokenizers"))
    alone = Settings(models=Models(folder=folder), folder=settings.folder, pictures=settings.pictures)
    assert problems(alone) == [("missing_file", "tokenizer_cache_dir")]


def test_a_picture_whose_name_is_too_long_for_its_cache(settings: Settings) -> None:
    name = "x" * 240
    for ending in (".png", ".txt"):
        (settings.pictures / f"1{ending}").rename(settings.pictures / f"{name}{ending}")
    assert problems(settings) == []
    found = ask(settings, "--cache_latents_to_disk --network_train_unet_only")
    (problem,) = found["problems"]
    # 240 of the name, _0080x0064_flux.npz and .tmp.
    assert "would have 263 bytes, but at most 255 are allowed; make it 8 bytes shorter" in problem["sentence"]
    assert problem["path"] == str(settings.pictures / f"{name}.png")
    assert (
        run(settings.plus("--cache_latents_to_disk")).error
        == problem["sentence"][0].lower() + problem["sentence"].removesuffix(".")[1:]
    )


def test_an_output_name_that_is_too_long_for_the_samples_alone(settings: Settings) -> None:
    words = f"--output_name {'x' * 210}"
    assert problems(settings, words) == []
    assert problems(settings.with_samples(), words) == [("output", "output_name")]


def test_a_folder_that_may_not_be_read_is_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is simulated, since tests run as root, which may read everything."""

    def refuse(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    (problem,) = ask(settings)["problems"]
    dataset = settings.folder / "dataset.toml"
    assert problem["sentence"] == f"{dataset} cannot be read: Permission denied."
    assert (problem["kind"], problem["path"]) == ("dataset", str(dataset))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("AdamW8bit", []),
        ("Lion8bit", [("optimizer", "optimizer_type")]),  # bitsandbytes is not installed
        ("no.such.Optimizer", [("optimizer", "optimizer_type")]),
        (f"{__name__}.MadeOnGpu", []),
    ],
)
def test_an_optimizer_that_needs_the_gpu_which_is_hidden(
    written: str, expected: list[tuple[str, str]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "is_there", lambda: True)
    assert problems(settings, f"--optimizer_type {written}") == expected


class MadeOnGpu:
    """Stands in for a package that cannot construct its optimizer without a GPU."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("no CUDA GPUs are available")

    def step(self) -> None:
        """Never called."""


def test_captions_that_are_cut_are_told_once_with_their_number(settings: Settings) -> None:
    long = "a very long tale, " * 100
    for name in ("0.txt", "1.txt"):
        (settings.pictures / name).write_text(f"{long}\nand more\n")
    found = ask(settings, "--network_train_unet_only")
    assert found["problems"] == []
    assert [one["sentence"].partition(", and")[0] for one in found["warnings"]] == [
        "2 of 3 captions have more than one line",
        "2 of 3 captions are longer than the 16 tokens that T5 reads (--t5xxl_max_token_length)",
    ]
    clip = ask(settings)["warnings"][2]["sentence"]
    assert clip.startswith("2 of 3 captions are longer than the 77 tokens that CLIP-L reads, and")


def test_with_wildcards_all_lines_are_used(settings: Settings) -> None:
    (settings.pictures / "0.txt").write_text("one\ntwo\n")
    assert ask(settings, "--enable_wildcard")["warnings"] == []


def test_flags_that_the_dataset_file_overrides_are_named_in_one_line(settings: Settings) -> None:
    words = "--resolution 128 --caption_extension .cap --train_batch_size 2 --train_data_dir /nonexistent"
    found = ask(settings, f"{words} --dataset_repeats 3")
    (warning,) = found["warnings"]
    dataset = settings.folder / "dataset.toml"
    assert warning["sentence"] == (
        "--caption_extension, --dataset_repeats, --resolution, --train_data_dir have no effect, because "
        f"{dataset} overrides them."
    )
    assert (warning["kind"], warning["path"]) == ("dataset", str(dataset))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--max_train_steps 5", "--max_train_steps has no effect, because --max_train_epochs is given."),
        (
            "--lr_scheduler cosine --lr_scheduler_type ConstantLR",
            "--lr_scheduler has no effect, because --lr_scheduler_type is given.",
        ),
    ],
)
def test_flags_that_another_one_overrides_are_named(words: str, sentence: str, settings: Settings) -> None:
    found = ask(settings, words)
    assert [(one["kind"], one["sentence"]) for one in found["warnings"]] == [("command_line", sentence)]
    assert found["problems"] == []


@pytest.mark.parametrize(
    "words",
    [
        "--optimizer_type bogus --output_name " + "x" * 240,
        "--clip_l gone.safetensors --sample_prompts gone.txt --resume gone-state",
        "--network_args train_single_block_indices=5 --initial_epoch 9",
        "--network_weights {models}/ae.safetensors",
    ],
)
def test_the_start_refuses_with_the_same_sentences(words: str, settings: Settings, models: Models) -> None:
    words = words.format(models=models.folder)
    told = [one["sentence"] for one in ask(settings, words)["problems"]]
    with pytest.raises(TrainerError) as refused:
        preflight.check(parse(settings.plus(words).arguments()))
    assert told == [whole_sentence(str(error)) for error in refused.value.errors]
    assert told
    assert not settings.output_dir.exists()


def test_a_wrong_command_line_is_told_whole(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--bogus 1 --network_dim 0 --sdpa yes --full_bf16 --fp8_base"
    told = [one["sentence"] for one in ask(settings, words)["problems"]]
    with pytest.raises(SystemExit) as left:
        parse(settings.plus(words).arguments())
    said = [line.removeprefix("error: ") for line in capsys.readouterr().err.splitlines()]
    assert (left.value.code, len(told)) == (2, 5)
    assert told == [whole_sentence(line) for line in said]


@pytest.mark.parametrize(
    "words",
    [
        "--optimizer_type AdamW8bit --lr_scheduler polynomial --network_train_unet_only",
        "--validation_split 0.34 --network_args train_blocks=single loraplus_lr_ratio=4",
    ],
)
def test_what_is_accepted_trains(words: str, settings: Settings) -> None:
    settings = settings.plus(f"{words} --max_train_epochs 1").with_samples()
    planned = ask(settings)
    assert planned["problems"] == []
    outcome = run(settings)
    assert (outcome.error, outcome.steps[-1]) == (None, planned["plan"]["totalSteps"])
