# SPDX-License-Identifier: Apache-2.0
"""Text encoders and autoencoder loaded from single files, against the libraries' own ways of loading them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from library.errors import TrainerError
from library.files.safetensors_header import read_shapes
from library.flux import autoencoder_config, encoder_config, text_encoders, tokenization
from library.flux.autoencoder import Autoencoder
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.models import load_autoencoder
from tests.sd_scripts.running import Models
from tiny.autoencoder import _shapes

CPU = torch.device("cpu")
SD_SCRIPTS = Path(tokenization.__file__).parents[2]


@torch.no_grad()
def test_clip_equals_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=120,
        hidden_size=128,
        intermediate_size=300,
        num_hidden_layers=3,
        num_attention_heads=2,
        bos_token_id=118,
        eos_token_id=119,
        pad_token_id=119,
    )
    oracle = CLIPTextModel(config).eval()
    path = tmp_path / "clip_l.safetensors"
    tensors = {f"text_model.{key}": value for key, value in oracle.state_dict().items()}
    # The published file has these too.
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors["text_projection.weight"] = torch.zeros(128, 128)
    save_file(tensors, path)
    ours = text_encoders.load_clip(path, encoder_config.clip_config(read_shapes(path, "")), torch.float32)
    ids = torch.randint(0, 118, (2, 77))
    ids[0, 5:], ids[1, 70:] = 119, 119
    expected = oracle(input_ids=ids).pooler_output
    assert torch.equal(text_encoders.encode_clip(ours, ids), expected)
    assert expected.isfinite().all()
    assert expected.std() > 0.1


@torch.no_grad()
def test_t5_equals_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=90, d_model=48, d_kv=8, d_ff=100, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu"
    )
    oracle = T5EncoderModel(config).eval()
    path = tmp_path / "t5xxl_fp16.safetensors"
    tensors = {key: value.clone() for key, value in oracle.state_dict().items()}
    save_file({key: value for key, value in tensors.items() if key != "encoder.embed_tokens.weight"}, path)
    ours = text_encoders.load_t5(path, encoder_config.t5_config(read_shapes(path, "")), torch.float32)
    ids = torch.randint(0, 90, (2, 20))
    expected = oracle(input_ids=ids).last_hidden_state
    assert torch.equal(text_encoders.encode_t5(ours, ids), expected)
    assert expected.std() > 0.01


@torch.no_grad()
def test_the_autoencoder_equals_the_conversion_by_diffusers(tmp_path: Path) -> None:
    drawn = torch.Generator().manual_seed(0)
    shapes = _shapes(16)
    tensors = {
        key: torch.ones(shape) + 0.1 * torch.randn(shape, generator=drawn)
        if "norm" in key
        else torch.randn(shape, generator=drawn) * 0.03
        for key, shape in shapes.items()
    }
    path = tmp_path / "ae.safetensors"
    save_file(tensors, path)
    config = autoencoder_config.read_config(read_shapes(path, "--ae"))
    (tmp_path / "config").mkdir()
    config_file = tmp_path / "config" / "config.json"
    config_file.write_text(json.dumps({"_class_name": "AutoencoderKL", **config}))
    oracle = AutoencoderKL.from_single_file(str(path), config=str(config_file.parent), local_files_only=True).eval()
    ours = Autoencoder(path, config, CPU)
    pixels = torch.rand(1, 3, 32, 48, generator=drawn) * 2 - 1
    posterior = oracle.encode(pixels).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(5))
    expected = 0.3611 * (posterior.mean + posterior.std * noise - 0.1159)
    latents = ours.encode(pixels, torch.Generator().manual_seed(5))
    assert (latents - expected).abs().max() < 1e-5
    decoded = oracle.decode(latents / 0.3611 + 0.1159).sample
    assert (ours.decode(latents) - decoded.clamp(-1, 1)).abs().max() < 1e-5
    assert decoded.std() > 0.01


def test_the_tiny_autoencoder_keeps_colours(models: Models) -> None:
    ae = load_autoencoder(models)
    pixels = torch.tensor([0.9, -0.5, 0.1]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    decoded = ae.decode(ae.encode(pixels, torch.Generator().manual_seed(0)))
    middle = decoded[:, :, 16:48, 16:48]
    assert (middle - pixels[:, :, 16:48, 16:48]).abs().max() < 0.05


def test_a_missing_tokenizer_is_reported_with_its_expected_path(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=str(tmp_path / "cache" / "openai_clip-vit-large-patch14")):
        tokenization.load(cache_dir=tmp_path / "cache", models_dir=tmp_path, t5_length=16)


def test_a_damaged_tokenizer_is_reported(models: Models, tmp_path: Path) -> None:
    shutil.copytree(models.folder / "tokenizers", tmp_path / "tokenizers")
    (tmp_path / "tokenizers" / "google_t5-v1_1-xxl" / "tokenizer.json").write_text("{")
    with pytest.raises(TrainerError, match=r"google/t5-v1_1-xxl is missing or damaged"):
        tokenization.load(cache_dir=None, models_dir=tmp_path, t5_length=16)


@pytest.fixture
def published(models: Models, tmp_path: Path) -> Path:
    """Tokenizers in which T5's is only a sentencepiece model, as google/t5-v1_1-xxl is published."""
    shutil.copytree(models.folder / "tokenizers", tmp_path / "tokenizers")
    folder = tmp_path / "tokenizers" / "google_t5-v1_1-xxl"
    for old in folder.iterdir():
        old.unlink()
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a red disc", "a green cross", "a blue frame", "a yellow roof"] * 5),
            model_writer=file,
            vocab_size=24,
            minloglevel=2,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
        )
    return tmp_path


def test_t5_s_sentencepiece_model_is_read(published: Path) -> None:
    tokenizers = tokenization.load(cache_dir=None, models_dir=published, t5_length=16)
    oracle = sentencepiece.SentencePieceProcessor()
    oracle.Load(str(published / "tokenizers" / "google_t5-v1_1-xxl" / "spiece.model"))
    ids, mask = tokenizers.t5_ids(["a red roof"])
    known = [*oracle.EncodeAsIds("a red roof"), 1]
    assert ids[0].tolist() == known + [0] * (16 - len(known))
    assert mask.sum() == len(known)


def test_the_packages_that_read_it_are_named_if_one_is_missing(published: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "sys.modules['sentencepiece'] = None\n"  # as if it were not installed
        "from library.flux import tokenization\n"
        f"tokenization.load(cache_dir=None, models_dir=pathlib.Path({str(published)!r}), t5_length=16)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=SD_SCRIPTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert "spiece.model requires the packages sentencepiece and protobuf, and one of them is not" in done.stderr


def test_a_tokenizer_of_another_model_is_reported(models: Models) -> None:
    tokenizers = tokenization.load(cache_dir=None, models_dir=models.folder, t5_length=16)
    tokenizers.check(clip_vocabulary=514, t5_vocabulary=128)
    with pytest.raises(
        TrainerError, match="has 514 tokens, but the text encoder has 100; use the tokenizer of this model"
    ):
        tokenizers.check(clip_vocabulary=100, t5_vocabulary=128)


def test_tokenizers_pad_and_cut(models: Models) -> None:
    tokenizers = tokenization.load(cache_dir=None, models_dir=models.folder, t5_length=16)
    ids = tokenizers.clip_ids(["a cat", "x" * 200])
    assert ids.shape == (2, 77)
    assert ids[:, 0].tolist() == [512, 512]
    assert ids[:, -1].tolist() == [513, 513]
    t5_ids, mask = tokenizers.t5_ids(["a cat"])
    assert t5_ids.shape == mask.shape == (1, 16)
    # A token for each character, one for the space before the first word, and the end token.
    assert int(mask.sum()) == len("_a_cat") + 1
    assert t5_ids[0, int(mask.sum()) - 1] == 1
