# SPDX-License-Identifier: Apache-2.0
"""Tests of other programs' settings as those of a job: what carries over, and a note for everything that does not."""

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Model, Part, TriggerPlace
from fluxgymd.exchange import recognize
from fluxgymd.exchange.carried import Carried
from fluxgymd.exchange.recognize import MOST_BYTES
from tests.exchange.material import CONFIG, DATASET, YAML, MadeUp, converted, gui

PICTURES = MadeUp(
    texts={"/in/d.toml": DATASET, "/in/prompts.txt": "a cat\n# not this\n"},
    inside={"/in/img": ["10_o cat", "3_dog", "log"], "/in/one": ["10_o cat"], "/in/reg": ["1_a cat"]},
    counts={
        "/in/cat pictures": 20,
        "/pictures": 20,
        "/more": 10,
        "/reg": 5,
        "/in/img/10_o cat": 8,
        "/in/img/3_dog": 8,
        "/in/reg/1_a cat": 50,
    },
)


CAT_PARTS = [
    Part(dataset="/in/cat pictures", repeats=5),
    Part(dataset="/reg", repeats=1, regularisation=True),
]


def fields(job: Context) -> dict[str, object]:
    """The fields that are given, without the options."""
    given = {name: getattr(job, name) for name in job.__struct_fields__ if name != "trainer_options"}
    return {name: value for name, value in given.items() if value is not None}


def options(job: Context) -> dict[str, list[str]]:
    return job.trainer_options or {}


def test_a_file_of_the_gui() -> None:
    program, job, notes = converted(gui(), PICTURES)
    assert program == "kohya_ss"
    assert fields(job) == {
        "name": "my-cat",
        "parts": [
            Part(dataset="/in/img/10_o cat", repeats=10, caption="o cat"),
            Part(dataset="/in/img/3_dog", repeats=3, caption="dog"),
        ],
        "enable_bucket": True,
        "model": Model(
            clip_l="/models/clip_l.safetensors", t5xxl="/models/t5xxl_fp16.safetensors", autoencoder="/models/ae.sft"
        ),
        "resolution": 768,
        "epochs": 12,
        "save_every_epochs": 2,
        "sample_every_steps": 200,
        "sample_prompts": ["a cat --w 768", "a dog"],
        "seed": 1234,
        "learning_rate": 3e-4,
        "network_dim": 16,
    }
    assert options(job) == {
        "bucket_no_upscale": [],
        "bucket_reso_steps": ["64"],
        "cache_latents": [],
        "caption_prefix": ["a photo"],
        "ema_decay": ["0.99"],
        "fp8_base": [],
        "gradient_checkpointing": [],
        "lr_scheduler": ["cosine"],
        "lr_warmup_steps": ["0.1"],
        "max_grad_norm": ["0"],
        "network_alpha": ["16"],
        "network_args": ["train_blocks=single", "module_dropout=0.1"],
        "network_train_unet_only": [],
        "optimizer_args": ["weight_decay=0.1", "eps=1e-8"],
        "optimizer_type": ["AdamW8bit"],
        "timestep_sampling": ["sigmoid"],
        "train_batch_size": ["2"],
        "unet_lr": ["0.0003"],
    }
    assert notes == [
        "huggingface_token = ... is not carried over: a job keeps no secrets.",
        (
            r"pretrained_model_name_or_path = E:\models\flux1-dev.safetensors is not carried over: "
            "it is a path on Windows; give the one on this machine."
        ),
        "random_crop = true is not carried over: the trainer has no such flag.",
        "Without effect on FLUX.1, and left out: clip_skip, max_timestep, min_snr_gamma.",
    ]


def test_a_dataset_file_alone() -> None:
    program, job, notes = converted(DATASET)
    assert program == "sd-scripts (dataset.toml)"
    assert fields(job) == {
        "name": "",
        "parts": CAT_PARTS,
        "trigger_word": "O'Cat",
        "trigger_place": TriggerPlace.MISSING,
        "enable_bucket": True,
        "resolution": 768,
        "repeats": 1,
    }
    assert options(job) == {
        "caption_extension": [".caption"],
        "flip_aug": [],
        "keep_tokens": ["2"],
        "shuffle_caption": [],
        "train_batch_size": ["4"],
    }
    assert notes == [
        "random_crop = true is not carried over: the trainer has no such flag.",
        "flip_aug applies to all parts of a job, also to /reg, where it is not given.",
        "FluxGym's defaults apply where the file says nothing: epochs 16, learning_rate 0.0008, network_dim 4.",
    ]


def test_folders_of_the_gui() -> None:
    """One folder is the plain form. The class of regularisation pictures is their caption, never the trigger word."""
    _, job, _ = converted(gui(train_data_dir="one"), PICTURES)
    assert (job.dataset, job.repeats, job.trigger_word, job.parts) == ("/in/one/10_o cat", 10, "o cat", None)
    _, job, notes = converted(gui(train_data_dir="one", reg_data_dir="reg"), PICTURES)
    assert (job.dataset, job.trigger_word, job.trigger_place) == (None, "o cat", TriggerPlace.MISSING)
    assert job.parts == [
        Part(dataset="/in/one/10_o cat", repeats=10),
        Part(dataset="/in/reg/1_a cat", repeats=1, regularisation=True, caption="a cat"),
    ]
    assert not any("_data_dir" in note for note in notes)


def test_folders_of_a_dataset_file() -> None:
    """A folder that is trained at two sizes is one part; of other keys, those of the first folder count."""
    subset = {"image_dir": "a", "class_tokens": "one"}
    other = {"image_dir": "b", "num_repeats": 0.5, "class_tokens": "two", "flip_aug": True}
    document = {
        "datasets": [{"resolution": 512, "subsets": [subset, other]}, {"resolution": 768, "subsets": [subset]}]
    }
    _, job, notes = converted(json.dumps(document))
    assert job.parts == [
        Part(dataset="/in/a", repeats=1, caption="one"),
        Part(dataset="/in/b", caption="two"),
    ]
    assert (job.resolution, job.trigger_word) == (512, None)
    assert notes[:4] == [
        "repeats of b = 0.5 is not carried over: repeats must be a whole number.",
        "image_dir = a is not carried over: a job has each folder once; give several sizes as resolutions.",
        "flip_aug of b = true is not carried over: all parts of a job have what the first one has.",
        "resolution of a = 768 is not carried over: all parts of a job have what the first one has.",
    ]
    only = {"image_dir": "/reg", "is_reg": True, "class_tokens": "one"}
    _, job, _ = converted(json.dumps({"datasets": [{"subsets": [subset, only]}]}))
    assert job.parts == [
        Part(dataset="/in/a", repeats=1),
        Part(dataset="/reg", repeats=1, regularisation=True, caption="one"),
    ]
    assert job.trigger_word == "one"
    _, job, notes = converted(json.dumps({"datasets": [{"subsets": [only]}]}))
    assert (job.dataset, job.parts) == ("/reg", None)
    assert notes[0] == "/reg has regularisation pictures only, so they are what the LoRA learns from."


def test_a_config_file_with_its_dataset_and_prompts() -> None:
    program, job, notes = converted(CONFIG, PICTURES)
    assert program == "sd-scripts (--config_file)"
    assert fields(job) == {
        "name": "cat",
        "parts": CAT_PARTS,
        "trigger_word": "O'Cat",
        "trigger_place": TriggerPlace.MISSING,
        "enable_bucket": True,
        "model": Model(transformer="/models/flux1-dev.safetensors", autoencoder="/in/ae.safetensors"),
        "resolution": 768,
        "repeats": 1,
        "epochs": 20,  # 20 pictures with 5 repeats, as many of regularisation, batches of 4: 50 steps
        "sample_every_epochs": 1,
        "sample_prompts": ["a cat"],
        "learning_rate": 1e-4,
        "network_dim": 32,
    }
    given = options(job)
    # dataset.toml overrides the flag, and sd-scripts' defaults apply where FluxGym would pass others.
    assert given["train_batch_size"] == ["4"]
    assert given["timestep_sampling"] == given["model_prediction_type"] == given["sdpa"] == ["false"]
    assert "guidance_scale" not in given
    assert "gradient_checkpointing" not in given
    assert notes[2:] == [
        "wandb_api_key = ... is not carried over: a job keeps no secrets.",
        "resume = /old/state is not carried over: use `fluxgymctl resume`.",
        "loss_type = l7 is not carried over: the trainer takes l1, l2, huber, smooth_l1.",
        "max_train_steps = 1000 becomes epochs = 20, as many as have that number of steps.",
    ]


def test_a_yaml_of_ai_toolkit() -> None:
    program, job, notes = converted(YAML, PICTURES)
    assert program == "ai-toolkit"
    assert fields(job) == {
        "name": "cat-in-a-hat",
        "parts": [Part(dataset="/pictures", repeats=1), Part(dataset="/more", repeats=1, regularisation=True)],
        "trigger_word": "c4t",
        "trigger_place": TriggerPlace.FIRST,
        "enable_bucket": True,
        "resolutions": [512, 768, 1024],
        "repeats": 1,
        "epochs": 9,  # 20 pictures and 20 times one of regularisation, at three sizes: 120 steps
        "save_every_epochs": 1,
        "sample_every_steps": 250,
        "sample_prompts": [
            "c4t in a hat --d 42 --w 1024 --h 768 --s 20 --g 4",
            "a dog --d 43 --w 1024 --h 768 --s 20 --g 4",
        ],
        "learning_rate": 1e-4,
        "network_dim": 32,
    }
    assert options(job) == {
        "caption_dropout_rate": ["0.05"],
        "discrete_flow_shift": ["false"],
        "ema_decay": ["0.99"],
        "fp8_base": [],
        "gradient_checkpointing": [],
        "network_alpha": ["16"],
        "network_train_unet_only": [],
        "optimizer_args": ["weight_decay=0.0001"],
        "optimizer_type": ["adamw8bit"],
        "sample_at_first": [],
        "save_precision": ["fp16"],
        "timestep_sampling": ["sigmoid"],
    }
    assert notes == [
        (
            "model.name_or_path = black-forest-labs/FLUX.1-dev is not carried over: "
            "a job needs the model as a file; give --transformer."
        ),
        "cache_latents_to_disk applies to all parts of a job, also to /more, where it is not given.",
        "caption_dropout_rate applies to all parts of a job, also to /more, where it is not given.",
        "caption_ext applies to all parts of a job, also to /more, where it is not given.",
        "resolution of /more = [512] is not carried over: all parts of a job have what the first one has.",
        "train.timestep_type is not given, so ai-toolkit's own default, sigmoid, is carried over.",
        "train.steps = 1000 becomes epochs = 9, as many as have that number of steps.",
        "process.training_folder = out is not carried over: FluxGym has no such setting.",
        "network.conv = 8 is not carried over: FluxGym has no such setting.",
        "save.max_step_saves_to_keep = 4 is not carried over: FluxGym has no such setting.",
    ]


def test_steps_are_no_epochs_if_the_pictures_cannot_be_counted() -> None:
    _, job, notes = converted(YAML)
    assert (job.epochs, job.save_every_epochs) == (None, None)
    assert [note for note in notes if "epochs" in note] == [
        (
            "train.steps = 1000 is not carried over: "
            "a job counts epochs, and its pictures could not be counted; give --epochs."
        ),
        "save.save_every = 100 is not carried over: a job saves after epochs; give --save-every-epochs.",
        "FluxGym's defaults apply where the file says nothing: epochs 16.",
    ]


@pytest.mark.parametrize(
    ("changes", "given", "note"),
    [
        ({"text_encoder_lr": 1e-5}, {"text_encoder_lr": ["1e-05"]}, None),
        ({"lr_warmup": 0, "lr_warmup_steps": 50}, {"lr_warmup_steps": ["50"]}, None),
        (
            {"additional_parameters": "--no_such 3"},
            {},
            "no_such = 3 is not carried over: the trainer has no such flag.",
        ),
        ({"max_resolution": "512,768"}, {}, "resolution = 512,768 is not carried over: a job's resolution is one "),
        ({"network_dim": "x"}, {}, "network_dim = x is not carried over: network_dim must be a whole number."),
        (
            {"sample_prompts": "p.json"},
            {},
            "sample_prompts = p.json is not carried over: only a text file that can be",
        ),
        ({"train_data_dir": "/none"}, {}, "train_data_dir = /none is not carried over: it has no folder such as"),
    ],
)
def test_single_settings_of_the_gui(
    changes: dict[str, object], given: dict[str, list[str]], note: str | None
) -> None:
    _, job, notes = converted(gui(**changes), PICTURES)
    assert given.items() <= options(job).items()
    assert note is None or any(told.startswith(note) for told in notes), notes


def test_without_buckets_their_sizes_are_left_out() -> None:
    _, job, _ = converted(gui(enable_bucket=False), PICTURES)
    assert job.enable_bucket is False
    assert not options(job).keys() & {"bucket_no_upscale", "bucket_reso_steps"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "",
            "The file is in none of the formats that FluxGym reads: a kohya_ss GUI's JSON, sd-scripts' dataset.toml",
        ),
        ("{", "The file is not valid JSON: "),
        ("a: [1", "The file is neither JSON nor YAML, and is not valid TOML: "),
        ("dataset = 'a'\nepochs = 3", "The file is a spec file of FluxGym's own; give it with --file."),
        ("a: &x [1]\nb: *x", "The YAML has an alias (*name), which FluxGym does not read; write its value instead."),
        ("a: !!python/object/apply:os.system ['true']", "The file is neither JSON nor YAML, and is not valid TOML"),
        (gui(LoRA_type="Standard"), "The file is for a LoRA of type Standard; FluxGym trains FLUX.1 only"),
        (YAML.replace("is_flux: true", "arch: wan21"), "The file is for wan21; FluxGym trains FLUX.1 only"),
        (
            "#" * (MOST_BYTES + 1),
            f"The file has more than {MOST_BYTES} bytes, the limit for another program's settin",
        ),
        ("x: " + "[" * 10_000, "The file is neither JSON nor YAML"),
        (f"output_name = 'a'\nx = 0x{'f' * 8000}", "The file has a number with thousands of digits, or its values"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        converted(text)
    assert refusal.value.message.startswith(sentence)


@pytest.mark.parametrize(
    "junk", [None, True, 3, "x", "it's", [], [[]], {}, {"a": [1]}, [{"subsets": [{"image_dir": 3}]}]]
)
def test_a_value_of_any_type_leads_to_a_job_or_to_a_sentence(junk: object) -> None:
    documents: list[dict[str, object]] = [json.loads(gui()) | {key: junk} for key in json.loads(gui())]
    documents += [{"datasets": junk}, {"datasets": [junk]}, {"general": junk, "datasets": [{"subsets": [junk]}]}]
    documents += [{"config": {"process": junk}}, {"config": {"process": [junk]}}]
    known = {"model": {"is_flux": True}}
    for table in ("network", "save", "train", "datasets", "sample", "trigger_word"):
        documents.append({"config": {"process": [known | {table: junk}]}})
    for key in ("steps", "lr", "optimizer_params", "ema_config", "timestep_type", "batch_size", "dtype"):
        documents.append({"config": {"process": [known | {"train": {key: junk}}]}})
    for key in ("resolution", "image_dir", "num_repeats", "class_tokens", "caption_extension"):
        documents.append({"datasets": [{"subsets": [{key: junk}]}]})
    for document in documents:
        with suppress(InvalidSetting):
            msgspec.json.encode(converted(json.dumps(document))[1])


CONFIG_LINES = 'pretrained_model_name_or_path = "/m"\ntrain_data_dir = "/in/img"\n'


@pytest.mark.parametrize(
    ("lines", "epochs"),
    [
        ("max_train_steps = inf", None),
        ("max_train_steps = nan", None),
        ('max_train_steps = 160\ntrain_batch_size = "two"', 2),
        ("max_train_steps = 160\ntrain_batch_size = -1", 2),
        ("max_train_steps = 160\ntrain_batch_size = 2", 4),
        (f"max_train_epochs = {10**30}", None),
    ],
)
def test_numbers_that_no_training_has_leave_the_rest_as_it_is(lines: str, epochs: int | None) -> None:
    _, document, convert = recognize.read(CONFIG_LINES + lines)
    carried = Carried((), Path("/in"), PICTURES)
    convert(document, carried)
    job, notes = carried.job()
    assert (job.epochs, len(job.parts or ())) == (epochs, 2)
    assert any("epochs" in note for note in notes)
    assert msgspec.json.encode(job)
