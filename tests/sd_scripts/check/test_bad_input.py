# SPDX-License-Identifier: Apache-2.0
"""Each wrong input is refused in one sentence: what is wrong, where, and what would be right."""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from library.errors import TrainerError
from library.options.arguments import parse
from library.options.options import Options
from library.train import preflight
from tests.sd_scripts.command_line import REQUIRED
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Models, Outcome, Settings

SUBSET = "[[datasets.subsets]]\nimage_dir = '{pictures}'\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--foo", "unknown flag --foo"),
        ("--full_bf16", "--full_bf16 is an sd-scripts flag that this trainer does not support yet; leave it out"),
        ("--fp8_base", "--fp8_base only stores the matrices in 8 bits; add --mixed_precision bf16"),
        ("--save_stat", "unknown flag --save_stat; did you mean --save_state?"),
        ("--lr_scheduler cosin", "--lr_scheduler: invalid choice: 'cosin' (choose from "),
        ("--lr_warmup_steps 5", "--lr_scheduler constant has no warm-up; use constant_with_warmup"),
        (
            "--lr_warmup_steps 120%",
            "--lr_warmup_steps: 120% is not a number of steps, a share below 1, or a percentage such as 10%",
        ),
        ("--dim_from_weights", "--dim_from_weights takes the ranks from --network_weights, which is not given"),
        ("--mixed_precision fp16", "--mixed_precision: 'fp16' is not supported; choose from no, bf16"),
        ("--network_dim 0", "--network_dim: 0 is not a whole number of at least 1"),
        ("--learning_rate nan", "--learning_rate: nan is not a number of at least 0"),
        (
            "--text_encoder_lr 1e-4 1e-5 1e-6",
            "--text_encoder_lr has 3 rates; give one, or one each for CLIP-L and T5",
        ),
        ("--text_encoder_lr 1e-4 fast", "--text_encoder_lr: fast is not a number of at least 0"),
        ("--guidance_scale 1e40", "--guidance_scale: 1e40 is not a number of at least 0"),
        ("--discrete_flow_shift inf", "--discrete_flow_shift: inf is not a number above 0"),
        ("--logit_mean=-1e39", "--logit_mean: -1e39 is not a number"),
        ("--max_train_epochs many", "--max_train_epochs: many is not a whole number of at least 1"),
        ("--network_args train_block=all", "did you mean train_blocks?"),
        ("--network_args train_blocks=some", "the value must be one of all, double, single"),
        ("--optimizer_args weight_decay=much", "'much' is not a Python literal"),
        ("--network_module networks.lora", "'networks.lora' is not supported; choose from networks.lora_flux"),
        ("--sample_every_n_epochs 1", "samples are requested, but --sample_prompts is not given"),
        ("--output_name a/b", "--output_name 'a/b' must not contain a slash"),
        ("--sdpa true", "--sdpa is a switch and takes no value; remove 'true'"),
        ("--sdpa=true", "--sdpa is a switch and takes no value; remove 'true'"),
        ("--network_alpha 1 2", "--network_alpha takes one value; remove '2'"),
        ("--network_alpha=1 2", "--network_alpha takes one value; remove '2'"),
        ("--network_alpha --sdpa", "--network_alpha: expected one argument"),
    ],
)
def test_a_wrong_command_line(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse((REQUIRED + words).split())
    message = capsys.readouterr().err
    assert left.value.code == 2
    assert sentence in message
    assert message.count("\n") == 1


def test_a_word_before_the_first_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["train", *REQUIRED.split()])
    assert "'train' does not belong to any flag" in capsys.readouterr().err


def test_a_flag_of_many_values_takes_them_all_and_a_value_may_hold_equals_and_begin_with_a_dash() -> None:
    words = "--network_args train_blocks=double single_dim=4 --caption_prefix=-a=b --sdpa --network_alpha=2"
    options = parse((REQUIRED + words).split())
    assert options.network_args == [("train_blocks", "double"), ("single_dim", "4")]
    assert (options.caption_prefix, options.sdpa, options.network_alpha) == ("-a=b", True, 2)


def test_what_fluxgym_passes_is_taken() -> None:
    """The flags that an older FluxGym passes, with this trainer's optimizer."""
    words = (
        "--cache_latents_to_disk --save_model_as safetensors --sdpa --persistent_data_loader_workers "
        "--max_data_loader_n_workers 2 --seed 42 --gradient_checkpointing --mixed_precision bf16 "
        "--save_precision bf16 --network_dim 4 --optimizer_type adamw --sample_prompts p.txt "
        "--sample_every_n_steps 100 --learning_rate 8e-4 --cache_text_encoder_outputs "
        "--cache_text_encoder_outputs_to_disk --highvram --max_train_epochs 16 --save_every_n_epochs 4 "
        "--timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw --guidance_scale 1 "
        "--loss_type l2"
    )
    options = parse((REQUIRED + words).split())
    assert isinstance(options, Options)
    assert (options.trains_clip, options.network_alpha, options.learning_rate) == (True, 1.0, 8e-4)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("[[datasets]\n", "is not TOML"),
        ("[[dataset]]\n", "line 1: unknown section dataset; did you mean datasets?"),
        ("", "dataset.toml has no [[datasets]] with a resolution"),
        ("[[datasets]]\nresolution = 64\n", "has no [[datasets.subsets]]"),
        ("[[datasets]]\nresolutoin = 64\n" + SUBSET, "line 2: unknown key resolutoin; did you mean resolution?"),
        (
            "[[datasets]]\nresolution = 60\n" + SUBSET,
            "line 2: without buckets, the sides of resolution must be multiples of 16",
        ),
        (
            "[[datasets]]\n" + SUBSET,
            "line 1: a dataset has no resolution; set it to a number of pixels or [width, height]",
        ),
        ("[[datasets]]\nresolution = 64\nbatch_size = 0\n" + SUBSET, "line 3: batch_size = 0 is not a whole number"),
        (
            "[[datasets]]\nresolution = 64\nenable_bucket = true\n" + SUBSET,
            "min_bucket_reso must be at most the smaller side of resolution (64)",
        ),
        (
            "[[datasets]]\nresolution = 512\nenable_bucket = true\nbucket_reso_steps = 40\n" + SUBSET,
            "line 4: bucket_reso_steps must be a multiple of 32",
        ),
        (
            "[[datasets]]\nresolution = 512\nenable_bucket = true\nmin_bucket_reso = 32\n" + SUBSET,
            "line 4: min_bucket_reso must be at least bucket_reso_steps (64)",
        ),
        (
            "[[datasets]]\nresolution = 512\nenable_bucket = true\nmax_bucket_reso = 100000000000\n" + SUBSET,
            "line 4: max_bucket_reso = 100000000000 is not a whole number from 1 to 65536",
        ),
        (
            "[[datasets]]\nresolution = 100000\n" + SUBSET,
            "line 2: resolution = 100000 is not a number of pixels or [width, height], each at most 65536",
        ),
        ("[[datasets]]\nresolution = 64\n" + SUBSET + "resolution = 64", "resolution belongs in [[datasets]]"),
        (
            "[general]\nis_reg = true\n[[datasets]]\nresolution = 64\n" + SUBSET,
            "line 2: is_reg belongs in [[datasets.",
        ),
        (
            "[[datasets]]\nresolution = 64\nvalidation_split = 1\n" + SUBSET,
            "line 3: validation_split = 1 is not a number from 0 to less than 1",
        ),
        (
            "[[datasets]]\nresolution = 64\ncaption_dropout_rate = 2\n" + SUBSET,
            "line 3: caption_dropout_rate = 2 is not a number from 0 to 1",
        ),
        (
            "[[datasets]]\nresolution = 64\n" + SUBSET + "color_aug = true",
            "line 5: color_aug = True is not supported yet",
        ),
        ("[[datasets]]\nresolution = '²'\n" + SUBSET, "line 2: resolution = '²' is not a number of pixels"),
        (
            "[[datasets]]\nresolution = 64\n" + SUBSET + "num_repeats = 99999999999",
            "line 5: num_repeats = 99999999999 is not a whole number from 0 to 1000000",
        ),
        (
            "[[datasets]]\nresolution = 64\n" + SUBSET + "shuffle_caption = true\ncaption_separator = ''",
            "line 6: caption_separator = '' is not a text of at least one character",
        ),
        (
            "[[datasets]]\nresolution = 64\n" + SUBSET + "token_warmup_step = 1" + "0" * 400,
            "0 is not a number of at least 0",
        ),
        (
            "[[datasets]]\nresolution = 64\n" + SUBSET + "num_repeats = 0",
            "the dataset is empty: num_repeats = 0 excludes every folder",
        ),
        (
            "[[datasets]]\nresolution = 64\n" + SUBSET + "is_reg = true",
            "the dataset is empty: it has only regularisation pictures (is_reg = true), in ",
        ),
        ("[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = 'gone'\n", "there is no folder gone"),
        ("[[datasets]]\nresolution = 64\n[[datasets.subsets]]\n", "has no image_dir"),
        (
            "[general]\ncaption_extension = 1\n[[datasets]]\nresolution = 64\n" + SUBSET,
            "line 2: caption_extension = 1",
        ),
    ],
)
def test_a_wrong_dataset_file(toml: str, sentence: str, settings: Settings) -> None:
    (settings.folder / "dataset.toml").write_text(toml.format(pictures=settings.pictures))
    assert sentence in refusal(settings)


def test_files_by_an_editor_that_marks_utf8(settings: Settings) -> None:
    """A byte order mark at the start is not part of a prompt, and not an error in TOML."""
    mark = b"\xef\xbb\xbf"
    marked = settings.with_samples()
    files = [settings.folder / name for name in ("dataset.toml", "prompts.txt", "flags.toml")]
    marked.arguments()
    files[2].write_text("network_alpha = 2\n")
    for file in files:
        file.write_bytes(mark + file.read_bytes())
    options = parse(marked.plus(f"--config_file {files[2]}").arguments())
    assert options.network_alpha == 2
    assert [prompt.text for prompt in preflight.check(options).prompts] == ["a red square", "nothing"]


def refusal(settings: Settings) -> str:
    """The sentence with which a run is refused before anything large is loaded."""
    with pytest.raises(TrainerError) as caught:
        preflight.check(parse(settings.arguments()))
    assert not [path for path in settings.output_dir.glob("*") if path.is_file()]
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def corrupt(pictures: Path) -> None:
    (pictures / "1.png").write_bytes(b"no picture")


def too_large(pictures: Path) -> None:
    """Its header claims 100000 x 100000 pixels."""
    path = pictures / "1.png"
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def a_pipe(pictures: Path) -> None:
    (pictures / "1.png").unlink()
    os.mkfifo(pictures / "1.png")


def empty(pictures: Path) -> None:
    for path in pictures.iterdir():
        path.unlink()


def same_stem(pictures: Path) -> None:
    shutil.copy(pictures / "0.png", pictures / "0.webp")


def empty_caption(pictures: Path) -> None:
    (pictures / "2.txt").write_text("\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (corrupt, "1.png is damaged or not a picture"),
        (
            too_large,
            "1.png has 100000 x 100000 pixels (10000 megapixels), but at most 200 megapixels are supported: scale it",
        ),
        (a_pipe, "1.png is damaged or not a picture"),
        (empty, "the dataset is empty: no picture (.png .jpg .jpeg .webp .bmp) in"),
        (same_stem, "0.png and 0.webp would share one caption and one cache: rename one of them"),
        (empty_caption, "2.txt is empty: write a caption into it, or delete it to use class_tokens"),
    ],
)
def test_a_wrong_dataset(spoil: Callable[[Path], None], sentence: str, settings: Settings) -> None:
    spoil(settings.pictures)
    assert sentence in refusal(settings)


def test_a_picture_that_is_cut_short_is_named(settings: Settings) -> None:
    """Its header is right, so the damage is only noticed when it is encoded."""
    path = settings.pictures / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    with Image.open(path) as picture:
        assert picture.size == (80, 64)
    outcome = run(settings.plus("--cache_latents_to_disk"))
    assert outcome.error is not None
    assert "1.png is damaged" in outcome.error
    assert not list(settings.pictures.glob("*.tmp"))


def test_a_missing_caption_warns_and_takes_class_tokens(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.pictures / "1.txt").unlink()
    toml = "[[datasets]]\nresolution = 64\ncaption_extension = '.txt'\nclass_tokens = 'sks'\n" + SUBSET
    (settings.folder / "dataset.toml").write_text(toml.format(pictures=settings.pictures))
    inputs = preflight.check(parse(settings.arguments()))
    assert [picture.caption for picture in inputs.dataset.pictures] == ["a red square", "sks", "a blue square"]
    said = (
        f"warning: 1 of 3 pictures has no caption file, for example {settings.pictures / '1.txt'}; the caption used "
        "instead is 'sks' (class_tokens)"
    )
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "name", "content", "sentence"),
    [
        ("pretrained_model_name_or_path", None, b"", "there is no file"),
        ("ae", "x", b"no model", "is not a safetensors file"),
        ("t5xxl", "x", b"\2\0\0\0\0\0\0\0{}", "is not the T5 text encoder: it has no tensors"),
        ("clip_l", "x", b"\2\0\0\0\0\0\0\0{} ", "is damaged: its header asks for 10 bytes, but it has 11"),
    ],
)
def test_a_wrong_model_file(flag: str, name: str | None, content: bytes, sentence: str, settings: Settings) -> None:
    path = settings.folder / (name or "missing")
    if name:
        path.write_bytes(content)
    message = refusal(settings.plus(f"--{flag} {path}"))
    assert message.startswith(f"--{flag}: ")
    assert sentence in message
    assert str(path) in message


SCALE = "double_blocks.0.img_attn.norm.key_norm.scale"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({SCALE: None}, f"it lacks {SCALE}"),
        ({SCALE: None, "img_in.bias": None}, "it lacks img_in.bias (2 keys are wrong)"),
        ({SCALE: torch.zeros(3, 3)}, f"it has {SCALE} with shape (3, 3) instead of (32,)"),
        ({"img_in.weight.other": torch.zeros(1)}, "it has the unexpected key img_in.weight.other"),
        ({"img_in.lora.A.weight": torch.zeros(1)}, "it has the unexpected key img_in.lora.A.weight"),
    ],
)
def test_a_transformer_with_a_wrong_key(
    change: dict[str, torch.Tensor | None], sentence: str, settings: Settings, models: Models
) -> None:
    """The preflight reports it, although the transformer is loaded last."""
    changed = load_file(models.folder / "flux1-dev.safetensors") | change
    path = settings.folder / "flux1-dev.safetensors"
    save_file({key: value for key, value in changed.items() if value is not None}, path)
    message = refusal(settings.plus(f"--pretrained_model_name_or_path {path}"))
    assert message == f"--pretrained_model_name_or_path: {path} is damaged or a different model: {sentence}"


def test_an_autoencoder_of_other_latents(settings: Settings, models: Models) -> None:
    """FLUX.2's has 32 channels; 16 would be right."""
    changed = load_file(models.folder / "ae.safetensors")
    changed["encoder.conv_out.weight"] = torch.zeros(64, *changed["encoder.conv_out.weight"].shape[1:])
    path = settings.folder / "flux2-vae.safetensors"
    save_file(changed, path)
    message = refusal(settings.plus(f"--ae {path}"))
    flux = models.folder / "flux1-dev.safetensors"
    assert message == f"--ae has latent_channels 32, but {flux} was made for 16"


def test_models_that_do_not_belong_together(settings: Settings, models: Models) -> None:
    wrong = {
        "ae": "clip_l",
        "clip_l": "flux1-dev",
        "t5xxl": "ae",
        "pretrained_model_name_or_path": "t5xxl_fp16",
    }
    words = " ".join(f"--{flag} {models.folder / name}.safetensors" for flag, name in wrong.items())
    with pytest.raises(TrainerError) as caught:
        preflight.check(parse(settings.plus(words).arguments()))
    sentences = str(caught.value).splitlines()
    assert [sentence.partition(" is not ")[2] for sentence in sentences] == [
        "a Flux transformer: it is the T5 text encoder",
        "the CLIP-L text encoder: it is a Flux transformer",
        "the T5 text encoder: it is an autoencoder",
        "Flux's autoencoder: it is a CLIP text encoder",
    ]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "it is a LoRA, not a model; --network_weights"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", "it is a LoRA, not a model; --network_weights"),
        ("transformer_blocks.0.attn.add_q_proj.weight", "it is a transformer in diffusers' layout"),
        ("model.diffusion_model.input_blocks.0.0.weight", "it is a Stable Diffusion checkpoint"),
        ("something.else", "it lacks 'img_in.weight'"),
    ],
)
def test_another_kind_of_file_as_the_transformer(key: str, sentence: str, settings: Settings) -> None:
    path = settings.folder / "flux1-dev.safetensors"
    save_file({key: torch.zeros(1)}, path)
    message = refusal(settings.plus(f"--pretrained_model_name_or_path {path}"))
    assert f"{path} is not a Flux transformer: {sentence}" in message


def test_a_tokenizer_that_is_missing_is_told_before_pictures_are_encoded(
    settings: Settings, models: Models, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = settings.folder / "models"
    shutil.copytree(models.folder, folder, ignore=shutil.ignore_patterns("tokenizers"))
    outcome = run(dataclasses.replace(settings, models=Models(folder=folder)))
    assert outcome.error is not None
    assert f"into {folder / 'tokenizers' / 'openai_clip-vit-large-patch14'}" in outcome.error
    assert "caching" not in capfd.readouterr().out


def test_an_output_folder_that_cannot_be_written(settings: Settings) -> None:
    (settings.folder / "file").write_text("")
    assert "cannot be written: Not a directory" in refusal(settings.plus(f"--output_dir {settings.folder}/file/out"))


def test_an_output_name_that_no_file_can_have(settings: Settings) -> None:
    """The limit is in bytes, for the longest name: NAME-step00000000-ema.safetensors.tmp."""
    longest = "ü" * 111
    preflight.check(parse(settings.plus(f"--output_name {longest}").arguments()))
    assert "allows 255; make it 2 bytes shorter" in refusal(settings.plus(f"--output_name ü{longest}"))


def test_a_state_is_named_from_inside_it(
    long_settings: Settings, undisturbed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(undisturbed.output_dir / "lora-000001-state")
    assert preflight.check(parse(long_settings.plus("--resume .").arguments())).first_step == 60
    assert "is incomplete: train_state.json is missing" in refusal(long_settings.plus("--resume .."))
    assert "--resume: there is no state folder /" in refusal(long_settings.plus("--resume /"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--network_dim 3",
            "does not fit this run: its rank is 2, but this run's is 3 (--network_dim); use the settings",
        ),
        (
            "--network_alpha 2 --network_train_unet_only --optimizer_type sgdnesterov",
            (
                "CLIP-L was trained, but this run does not train it (--network_train_unet_only); its alpha is 1, but "
                "this run's is 2 (--network_alpha); its optimizer is AdamW, but this run's is SGD "
                "(--optimizer_type); use the settings it was made with"
            ),
        ),
        ("--max_train_epochs 1 --repeats_of_the_state", "the state is at step 60, but this run ends at step 6"),
    ],
)
def test_a_state_that_does_not_fit(
    words: str, sentence: str, settings: Settings, long_settings: Settings, undisturbed: Outcome
) -> None:
    shorter = "--repeats_of_the_state" in words
    chosen = settings if shorter else long_settings
    state = undisturbed.output_dir / "lora-000001-state"
    outcome = run(chosen.plus(f"--resume {state} " + words.replace("--repeats_of_the_state", "")))
    assert outcome.error is not None
    assert sentence in outcome.error


def test_a_state_that_is_not_there_or_not_whole(settings: Settings, tmp_path: Path) -> None:
    gone = tmp_path / "gone-state"
    assert refusal(settings.plus(f"--resume {gone}")) == f"--resume: there is no state folder {gone}"
    gone.mkdir()
    assert "is incomplete: train_state.json is missing" in refusal(settings.plus(f"--resume {gone}"))
    for name in ("model.safetensors", "optimizer.bin", "scheduler.bin"):
        (gone / name).touch()
    (gone / "train_state.json").write_text('{"format": "fluxgym-2", "current_step": 1e400}')
    damage = "train_state.json is damaged (current_step is not a whole number of at least 0); use another state"
    assert damage in refusal(settings.plus(f"--resume {gone}"))


def test_the_state_decides_where_a_resumed_run_begins(
    long_settings: Settings, undisturbed: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    old = long_settings.folder / "lora-000001-state"
    shutil.copytree(undisturbed.output_dir / "lora-000001-state", old.with_name(old.name + ".old"))
    # A replacement was cut short: only X-state.old exists.
    inputs = preflight.check(parse(long_settings.plus(f"--resume {old} --initial_epoch 3 --seed 5").arguments()))
    assert (inputs.first_step, inputs.seed) == (60, 5)
    said = capsys.readouterr().err
    assert "--initial_epoch 3 is ignored: the state is at step 60" in said
    assert "--seed 5 differs from the state's, 42" in said


def test_initial_epoch_alone_begins_there(long_settings: Settings) -> None:
    assert preflight.check(parse(long_settings.plus("--initial_epoch 3").arguments())).first_step == 120
    assert "past the last epoch, 3" in refusal(long_settings.plus("--initial_epoch 4"))
