# SPDX-License-Identifier: Apache-2.0
"""Tests of settings of sd-scripts and of kohya_ss' GUI that the whole files in test_converting.py do not have."""

import pytest

from tests.exchange.material import CONFIG, DATASET, MadeUp, converted, gui

BARE = 'pretrained_model_name_or_path = "/m"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BARE, [".caption"]),
        (f'{BARE}caption_extension = ".txt"', None),
        (f'{BARE}caption_extension = "cap"', [".cap"]),
        (DATASET.replace('".caption"', '".txt"'), None),
        (DATASET.replace('".caption"', '".cap"'), [".cap"]),
    ],
)
def test_the_ending_of_captions_is_that_of_the_file_or_sd_scripts_own(text: str, words: list[str] | None) -> None:
    assert (converted(text)[1].trainer_options or {}).get("caption_extension") == words


def test_without_prompts_there_are_no_samples() -> None:
    _, job, notes = converted(CONFIG.replace('sample_prompts = "prompts.txt"', ""))
    assert (job.sample_prompts, job.sample_every_epochs) == (None, None)
    assert "sample_every_epochs is left out, since the file has no prompts." in notes


@pytest.mark.parametrize(
    ("files", "reason"),
    [({}, "the file cannot be read."), ({"/in/d.toml": "["}, "the file is not valid TOML: ")],
)
def test_a_dataset_file_that_cannot_be_read_is_noted(files: dict[str, str], reason: str) -> None:
    notes = converted(f'{BARE}dataset_config = "d.toml"', MadeUp(texts=files))[2]
    assert notes[0].startswith(f"dataset_config = d.toml is not carried over: {reason}")


def test_a_folder_of_pictures_on_windows_is_noted_once() -> None:
    notes = converted(f"{BARE}train_data_dir = 'C:\\pictures'")[2]
    assert [note for note in notes if note.startswith("train_data_dir")] == [
        (
            r"train_data_dir = C:\pictures is not carried over: "
            "it is a path on Windows; give the one on this machine."
        )
    ]


def test_a_rate_that_is_no_number_is_noted() -> None:
    _, job, notes = converted(f'{BARE}learning_rate = "fast"')
    assert job.learning_rate is None
    assert "learning_rate = fast is not carried over: it must be a number." in notes


def test_words_with_an_open_quote_are_noted_and_left_out() -> None:
    _, job, notes = converted(gui(optimizer_args="betas='0.9", additional_parameters="--ema_decay '0.9"))
    assert not {"optimizer_args", "ema_decay"} & (job.trainer_options or {}).keys()
    for setting in ("optimizer_args = betas='0.9", "additional_parameters = --ema_decay '0.9"):
        assert f"{setting} is not carried over: it has a quotation mark without its partner." in notes


def test_the_processes_of_the_gui_are_gpus() -> None:
    assert converted(gui(num_processes=2))[1].gpu_count == 2
