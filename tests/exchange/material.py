# SPDX-License-Identifier: Apache-2.0
"""Settings of other programs, written after their documentation, and files that a test makes up."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fluxgym.protocol.messages import Context, TrainerOption
from fluxgymd.exchange import recognize
from fluxgymd.exchange.carried import Carried
from fluxgymd.trainers.ours import OurTrainer
from tests.daemon.running import ROOT, TRAINER_PYTHON
from tests.trainers.adapters import configured


@cache
def our_options() -> tuple[TrainerOption, ...]:
    """The flags of our trainer, as it reports them itself."""
    options = asyncio.run(OurTrainer(configured(path=ROOT / "sd-scripts", python=TRAINER_PYTHON)).options())
    assert options
    return tuple(options)


@dataclass
class MadeUp:
    """Files of a machine that a test makes up, by absolute path."""

    texts: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, list[str]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        return self.texts.get(path)

    def folders(self, path: str) -> list[str] | None:
        return self.inside.get(path)

    def pictures(self, path: str) -> int | None:
        return self.counts.get(path)


def converted(text: str, files: MadeUp | None = None) -> tuple[str, Context, Sequence[str]]:
    """The program, the job and the notes; relative paths begin in /in."""
    program, document, convert = recognize.read(text)
    carried = Carried(our_options(), Path("/in"), files or MadeUp())
    convert(document, carried)
    return program, *carried.job()


def gui(**changes: object) -> str:
    """A file of kohya_ss' GUI, which writes every key that it has."""
    usual: dict[str, object] = {
        "LoRA_type": "Flux1",
        "LyCORIS_preset": "full",
        "additional_parameters": "--ema_decay 0.99 --caption_prefix 'a photo'",
        "adaptive_noise_scale": 0,
        "ae": "/models/ae.sft",
        "bucket_no_upscale": True,
        "bucket_reso_steps": 64,
        "cache_latents": True,
        "caption_extension": ".txt",
        "clip_l": "/models/clip_l.safetensors",
        "clip_skip": 1,
        "discrete_flow_shift": 3.1582,
        "enable_bucket": True,
        "epoch": 12,
        "flux1_cache_text_encoder_outputs": True,
        "flux1_checkbox": True,
        "fp8_base": True,
        "gradient_checkpointing": True,
        "guidance_scale": 1,
        "huggingface_token": "hf_secret",
        "learning_rate": 0.0003,
        "loraplus_lr_ratio": 0,
        "lr_scheduler": "cosine",
        "lr_warmup": 10,
        "max_data_loader_n_workers": 0,
        "max_grad_norm": 0,
        "max_resolution": "768,768",
        "max_timestep": 1000,
        "max_train_epochs": 0,
        "max_train_steps": 4000,
        "min_snr_gamma": 7,
        "mixed_precision": "bf16",
        "model_prediction_type": "raw",
        "module_dropout": 0.1,
        "network_alpha": 16,
        "network_dim": 16,
        "num_processes": 1,
        "optimizer": "AdamW8bit",
        "optimizer_args": "weight_decay=0.1 eps=1e-8",
        "output_dir": "/out",
        "output_name": "My Cat!",
        "pretrained_model_name_or_path": "E:\\models\\flux1-dev.safetensors",
        "random_crop": True,
        "sample_every_n_steps": 200,
        "sample_prompts": "a cat --w 768\n# not this\na dog",
        "save_every_n_epochs": 2,
        "save_precision": "bf16",
        "sdxl": False,
        "seed": 1234,
        "t5xxl": "/models/t5xxl_fp16.safetensors",
        "text_encoder_lr": 0,
        "timestep_sampling": "sigmoid",
        "train_batch_size": 2,
        "train_blocks": "single",
        "train_data_dir": "img",
        "unet_lr": 0.0003,
        "wandb_run_name": "",
        "xformers": "sdpa",
    }
    return json.dumps(usual | changes, indent=2)


DATASET = """
[general]
enable_bucket = true
caption_extension = ".caption"
shuffle_caption = true
keep_tokens = 2

[[datasets]]
resolution = [768, 768]
batch_size = 4

  [[datasets.subsets]]
  image_dir = "cat pictures"
  class_tokens = "O'Cat"
  num_repeats = 5
  flip_aug = true
  random_crop = true

  [[datasets.subsets]]
  image_dir = "/reg"
  is_reg = true
"""

CONFIG = """
[models]
pretrained_model_name_or_path = "/models/flux1-dev.safetensors"
ae = "ae.safetensors"

[training]
output_name = "cat"
network_module = "networks.lora_flux"
network_dim = 32
learning_rate = 1e-4
optimizer_type = "adafactor"
optimizer_args = ["relative_step=False", "scale_parameter=False"]
max_train_steps = 1000
train_batch_size = 2
guidance_scale = 1.0
dataset_config = "d.toml"
sample_prompts = "prompts.txt"
sample_every_n_epochs = 1
gradient_checkpointing = false
sdpa = false
wandb_api_key = "secret"
resume = "/old/state"
loss_type = "l7"
"""

YAML = """\
job: extension
config:
  name: "Cat in a hat"
  process:
    - type: sd_trainer
      training_folder: out
      device: cuda:0
      trigger_word: c4t
      network:
        type: lora
        linear: 32
        linear_alpha: 16
        conv: 8
      save: {dtype: float16, save_every: 100, max_step_saves_to_keep: 4}
      datasets:
        - folder_path: /pictures
          caption_ext: txt
          caption_dropout_rate: 0.05
          shuffle_tokens: false
          cache_latents_to_disk: true
          resolution: [512, 768, 1024]  # three sizes
        - {folder_path: /more, is_reg: true, resolution: [512]}
      train:
        batch_size: 1
        steps: 1000
        gradient_accumulation_steps: 1
        train_unet: true
        train_text_encoder: false
        gradient_checkpointing: true
        noise_scheduler: flowmatch
        optimizer: adamw8bit
        optimizer_params: {weight_decay: 1e-4}
        lr: 1e-4
        ema_config: {use_ema: true, ema_decay: 0.99}
        dtype: bf16
      model:
        name_or_path: black-forest-labs/FLUX.1-dev
        is_flux: true
        quantize: true
      sample:
        sampler: flowmatch
        sample_every: 250
        width: 1024
        height: 768
        prompts:
          - "[trigger] in a\\n hat"
          - a dog
        neg: ""
        seed: 42
        walk_seed: true
        guidance_scale: 4
        sample_steps: 20
meta:
  version: '1.0'
"""
