# SPDX-License-Identifier: Apache-2.0
"""Tests of reading dataset.toml as the older program writes it and as its users edit it."""

import pytest

from fluxgym.protocol.messages import Context
from fluxgymd.importing.dataset_file import DatasetFile, read
from fluxgymd.importing.script import trainer_flags
from fluxgymd.importing.settings import OlderFiles, to_job
from fluxgymd.trainers import dataset_toml
from tests.data.older import make


def test_the_older_programs_file() -> None:
    assert read(make.dataset_toml("my-lora").encode()) == DatasetFile(
        pictures="/workspace/fluxgym/datasets/my-lora", trigger_word="p3rs0n", repeats=10, resolution=512
    )


def test_an_apostrophe_in_the_trigger_word_makes_it_invalid_toml() -> None:
    assert read(make.dataset_toml("x", "O'Keeffe").encode()) is None


@pytest.mark.parametrize("data", [b"\xff", b"x = ", b"a = " + b"[" * 5000])
def test_a_file_that_is_not_toml_gives_none(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize("data", [b"", b"datasets = 3", b"[[datasets]]\nsubsets = 3", b"general = 1"])
def test_a_file_that_says_nothing(data: bytes) -> None:
    told = read(data)
    assert told is not None
    assert (told.pictures, told.trigger_word) == (None, None)


SUBSET = "\n[[datasets.subsets]]\nimage_dir = '/b'\n"


@pytest.mark.parametrize(
    ("change", "beyond"),
    [
        (("batch_size = 1", "batch_size = 4"), ("batch_size = 4",)),
        (("batch_size = 1", "enable_bucket = true\nmin_bucket_reso = 128"), ()),
        (("batch_size = 1", "min_bucket_reso = 128"), ("min_bucket_reso = 128",)),
        (("batch_size = 1", "enable_bucket = false"), ()),
        (("shuffle_caption = false", "shuffle_caption = true"), ("shuffle_caption = true",)),
        (("caption_extension = '.txt'", ""), ("caption_extension = .caption",)),
        (("keep_tokens = 1", "keep_tokens = 2"), ()),
        (("num_repeats = 10", "num_repeats = 10\nflip_aug = true"), ("flip_aug = true",)),
        (("num_repeats = 10", "num_repeats = 10" + SUBSET), ("more than one folder of pictures",)),
        (("resolution = 512", "resolution = [512, 512]"), ()),
    ],
)
def test_settings_that_no_job_can_have_are_named(change: tuple[str, str], beyond: tuple[str, ...]) -> None:
    told = read(make.dataset_toml("x").replace(*change).encode())
    assert told is not None
    assert told.beyond == beyond
    assert told.resolution == 512


def test_buckets_are_carried_over_with_the_sizes_that_they_had() -> None:
    more = "enable_bucket = true\nbucket_no_upscale = true\nmin_bucket_reso = 128"
    told = read(make.dataset_toml("x").replace("batch_size = 1", more).encode())
    assert told is not None
    assert told.enable_bucket is True
    assert told.bucket_options == {
        "bucket_no_upscale": [],
        "bucket_reso_steps": ["64"],
        "min_bucket_reso": ["128"],
        "max_bucket_reso": ["1024"],
    }
    context, obstacles = to_job(
        OlderFiles(name="x", home=make.HERE, flags=trainer_flags(make.train_sh("x")), dataset=told), lambda _: True
    )
    assert obstacles == ()
    assert (context.enable_bucket, context.trigger_place) == (True, None)
    assert told.bucket_options.items() <= (context.trainer_options or {}).items()


def test_a_jobs_own_file_says_nothing_that_a_job_cannot() -> None:
    context = Context(name="x", resolution=512, repeats=3, trigger_word="O'Keeffe")
    told = read(dataset_toml.render(context, [make.HERE]))
    assert told == DatasetFile(pictures=str(make.HERE), trigger_word="O'Keeffe", repeats=3, resolution=512)
