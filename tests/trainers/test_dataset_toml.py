# SPDX-License-Identifier: Apache-2.0
"""Tests of dataset.toml: what each setting puts there, that no name or value can change its meaning, and the steps
that follow from it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.protocol.messages import Context, Part, TriggerPlace
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.trainers import dataset_toml
from tests.core.histories import CONTEXT
from tests.trainers.command_lines import FOLDER, changed, lines

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("word", ["O'Keeffe", "it's 'x', \"y\"", "\\'"])
def test_the_dataset_file_has_no_apostrophe_which_sd_scripts_cannot_read(word: str) -> None:
    text = dataset_toml.render(changed(trigger_word=word), [Path("/it's/dataset")]).decode()
    assert "'" not in text
    (subset,) = tomllib.loads(text)["datasets"][0]["subsets"]
    assert (subset["class_tokens"], subset["image_dir"]) == (word, "/it's/dataset")


def test_the_dataset_file() -> None:
    assert tomllib.loads(dataset_toml.render(changed(trigger_word="sks cat"), [FOLDER.dataset]).decode()) == {
        "general": {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1},
        "datasets": [
            {
                "resolution": 512,
                "batch_size": 1,
                "keep_tokens": 1,
                "subsets": [
                    {"image_dir": "/home/outputs/my-lora/dataset", "num_repeats": 10, "class_tokens": "sks cat"}
                ],
            }
        ],
    }


def test_without_a_trigger_word_there_are_no_class_tokens() -> None:
    text = dataset_toml.render(CONTEXT, [FOLDER.dataset]).decode()
    assert tomllib.loads(text)["datasets"][0]["subsets"][0].keys() == {"image_dir", "num_repeats"}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"train_batch_size": ["2"]}, {"batch_size"}),
        ({"shuffle_caption": []}, {"shuffle_caption"}),
        ({"keep_tokens": ["3"]}, {"keep_tokens"}),
        ({"caption_extension": [".caption"]}, {"caption_extension"}),
        ({"shuffle_caption": ["false"]}, set()),
        ({"flip_aug": []}, set()),
    ],
)
def test_settings_that_the_dataset_file_would_override_are_left_to_the_command_line(
    options: dict[str, list[str]], gone: set[str]
) -> None:
    def keys(context: Context) -> set[str]:
        document = tomllib.loads(dataset_toml.render(context, [FOLDER.dataset]).decode())
        return {*document["general"], *document["datasets"][0]}

    context = changed(trainer_options=options)
    assert keys(CONTEXT) - keys(context) == gone
    given = [line for line in lines(context) if line.split()[0][2:] in options]
    assert given == [f"--{name} {' '.join(words)}".rstrip() for name, words in options.items() if words != ["false"]]


def dataset(context: Context) -> dict[str, Any]:
    """Returns the keys of the only dataset, without those of its folder."""
    (only,) = tomllib.loads(dataset_toml.render(context, [FOLDER.dataset]).decode())["datasets"]
    return {key: value for key, value in only.items() if key != "subsets"}


FILE_OF_VERSION_1 = b"""\
[general]
shuffle_caption = false
caption_extension = ".txt"
keep_tokens = 1

[[datasets]]
resolution = 512
batch_size = 1
keep_tokens = 1
subsets = [
    { image_dir = "/home/outputs/my-lora/dataset", num_repeats = 10, class_tokens = "a, b" },
]
"""


def test_the_file_of_a_job_of_an_earlier_version_is_the_same_to_the_byte() -> None:
    older = changed(trigger_word="a, b", trainer_options={"enable_bucket": [], "min_bucket_reso": ["64"]})
    assert dataset_toml.render(older, [FOLDER.dataset]) == FILE_OF_VERSION_1
    assert {"--enable_bucket", "--min_bucket_reso 64"} <= set(lines(older))
    assert dataset_toml.captions(older) == Captions()


@pytest.mark.parametrize(
    ("resolution", "step", "least", "most"),
    [(512, 64, 256, 1024), (1024, 64, 512, 2048), (800, 32, 400, 1600), (128, 32, 64, 256), (64, 32, 32, 128)],
)
def test_buckets_have_sides_from_half_to_twice_the_resolution(
    resolution: int, step: int, least: int, most: int
) -> None:
    sizes = {"bucket_reso_steps": step, "min_bucket_reso": least, "max_bucket_reso": most}
    told = dataset(changed(enable_bucket=True, resolution=resolution))
    assert {key: told[key] for key in ("enable_bucket", *sizes)} == {"enable_bucket": True, **sizes}
    given = changed(enable_bucket=True, resolution=resolution, trainer_options={key: ["96"] for key in sizes})
    assert sizes.keys().isdisjoint(dataset(given))
    assert {f"--{key} 96" for key in sizes} <= set(lines(given))


def test_without_buckets_the_file_says_so() -> None:
    assert dataset(changed(enable_bucket=False)) == {**dataset(CONTEXT), "enable_bucket": False}


@pytest.mark.parametrize(
    ("values", "written", "class_tokens", "kept"),
    [
        ({"trigger_place": TriggerPlace.FIRST}, {"trigger": "c4t, grey"}, "c4t, grey ", 2),
        ({"trigger_place": TriggerPlace.MISSING}, {}, "c4t, grey ", 1),
        ({"trigger_place": TriggerPlace.NONE}, {}, None, 1),
        ({"trigger_place": TriggerPlace.FIRST, "trigger_word": None}, {}, None, 1),
        ({"trigger_place": TriggerPlace.NONE, "trainer_options": {"caption_separator": [";"]}}, {}, None, 1),
        (
            {"trigger_place": TriggerPlace.FIRST, "trainer_options": {"caption_separator": [";"]}},
            {"trigger": "c4t, grey", "separator": ";"},
            "c4t, grey ",
            1,
        ),
        (
            {"trigger_place": TriggerPlace.FIRST, "trainer_options": {"enable_wildcard": []}},
            {"trigger": "c4t, grey", "lines": Lines.EACH},
            "c4t, grey ",
            2,
        ),
        ({"trigger_place": TriggerPlace.NONE, "trainer_options": {"enable_wildcard": ["false"]}}, {}, None, 1),
    ],
)
def test_the_place_of_the_trigger_word(
    values: dict[str, Any], written: dict[str, Any], class_tokens: str | None, kept: int
) -> None:
    context = changed(**{"trigger_word": "c4t, grey ", **values})
    assert dataset_toml.captions(context) == Captions(**{"lines": Lines.JOINED, **written})
    document = tomllib.loads(dataset_toml.render(context, [FOLDER.dataset]).decode())
    (only,) = document["datasets"]
    assert only["subsets"][0].get("class_tokens") == class_tokens
    assert document["general"]["keep_tokens"] == only["keep_tokens"] == kept


def test_each_part_is_a_subset_at_each_resolution() -> None:
    parts = [
        Part(dataset="cats", repeats=3),
        Part(dataset="/dogs", caption="a dog"),
        Part(dataset="/reg", repeats=1, regularisation=True, caption="a pet"),
        Part(dataset="/more", regularisation=True),
    ]
    given: dict[str, Any] = {"trigger_word": "c4t, grey", "trigger_place": TriggerPlace.FIRST, "repeats": 7}
    job = changed(dataset=None, parts=parts, resolution=None, resolutions=[512, 768], **given)
    folders = subsets.folders(job, FOLDER.dataset)
    one, other = tomllib.loads(dataset_toml.render(job, folders).decode())["datasets"]
    assert (one["resolution"], other["resolution"]) == (512, 768)
    assert one["subsets"] == other["subsets"]
    home = "/home/outputs/my-lora/dataset"
    assert one["subsets"] == [
        {"image_dir": f"{home}/1", "num_repeats": 3, "class_tokens": "c4t, grey"},
        {"image_dir": f"{home}/2", "num_repeats": 7, "class_tokens": "c4t, grey, a dog"},
        {"image_dir": f"{home}/3", "num_repeats": 1, "class_tokens": "a pet", "is_reg": True, "keep_tokens": 1},
        {"image_dir": f"{home}/4", "num_repeats": 7, "is_reg": True, "keep_tokens": 1},
    ]
    given["trainer_options"] = {"keep_tokens": ["2"]}
    job = changed(dataset=None, parts=parts, **given)
    (only,) = tomllib.loads(dataset_toml.render(job, folders).decode())["datasets"]
    assert not any("keep_tokens" in subset for subset in only["subsets"])


odd_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)  # the machine may be slow
@given(
    word=st.one_of(st.sampled_from(['"""', "'''", "it's", 'a "b" \\n', "a\nb\r\n", "\x7f", "]]", "${x}"]), odd_text),
    folder=odd_text,
)
def test_quotes_and_newlines_are_read_back_equal(word: str, folder: str) -> None:
    text = dataset_toml.render(changed(trigger_word=word), [Path("/") / folder])
    (subset,) = tomllib.loads(text.decode())["datasets"][0]["subsets"]
    assert subset["class_tokens"] == word
    assert subset["image_dir"] == str(Path("/") / folder)


@pytest.mark.parametrize(
    ("values", "pictures", "steps"),
    [
        # 4 pictures, each twice: "num batches per epoch ... 8" in the recorded runs of sd-scripts.
        ({"repeats": 2}, 4, 8),
        ({"repeats": 10}, 7, 70),
        ({"repeats": 2, "trainer_options": {"gradient_accumulation_steps": ["3"]}}, 4, 3),
        ({"repeats": 1, "trainer_options": {"gradient_accumulation_steps": ["x"]}}, 4, 4),
        # ceil(batches / processes / accumulation), as sd-scripts counts.
        ({"repeats": 2, "gpu_count": 3}, 4, 3),
        ({"repeats": 1, "trainer_options": {"train_batch_size": ["3"]}}, 4, 2),
        ({"repeats": 2, "trainer_options": {"validation_split": ["0.25"]}}, 4, 6),
        ({"repeats": 3, "gpu_count": 2, "trainer_options": {"gradient_accumulation_steps": ["2"]}}, 5, 4),
    ],
)
def test_the_steps_of_an_epoch(values: dict[str, object], pictures: int, steps: int) -> None:
    assert dataset_toml.steps_per_epoch(changed(**values), [pictures]) == steps


@pytest.mark.parametrize(
    ("pictures", "repeats", "steps"),
    [
        ([4, 5], [3, 1], 24),  # of each of the 5, some are repeated more often
        ([4, 20], [3, 1], 24),  # 12 of the 20
        ([4, 20], [3, 5], 27),  # three of them with their repeats
        ([4, 0], [3, 1], 12),
    ],
)
def test_an_epoch_has_as_many_regularisation_pictures_as_others(
    pictures: list[int], repeats: list[int], steps: int
) -> None:
    parts = [Part(dataset="a", repeats=repeats[0]), Part(dataset="b", repeats=repeats[1], regularisation=True)]
    assert dataset_toml.steps_per_epoch(changed(dataset=None, parts=parts), pictures) == steps


def test_the_recorded_runs_of_sd_scripts_had_as_many_steps_as_we_count() -> None:
    """The logs show the batches per epoch and the total for 3 epochs; the resumed run trained only epoch 3."""
    log = (DATA / "sd-scripts-resumed.stdout").read_text(encoding="utf-8")
    (batches,) = re.findall(r"num batches per epoch / \D*(\d+)", log.replace("1epoch", "epoch"))
    (total,) = re.findall(r"total optimization steps / \D*(\d+)", log)
    steps = dataset_toml.steps_per_epoch(changed(repeats=2), [4])
    assert (int(batches), int(total)) == (steps, 3 * steps)
    assert re.findall(r"^epoch (\d)/3", log, re.MULTILINE) == ["3"]
