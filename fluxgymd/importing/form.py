# SPDX-License-Identifier: Apache-2.0
"""ui_state.json of the hardened fork: the values of its form, and how the training ended according to it.

If train.sh is missing, its flags are derived from the form, as the older FluxGym did. Settings under Advanced are not
in the form.
"""

from typing import Any

import msgspec

from fluxgymd.core.journal.decoding import decode
from fluxgymd.importing.script import Flags

ADAFACTOR: Flags = {
    "optimizer_type": ["adafactor"],
    "optimizer_args": ["relative_step=False", "scale_parameter=False", "warmup_init=False"],
    "lr_scheduler": ["constant_with_warmup"],
    "max_grad_norm": ["0.0"],
}
TIERS: dict[str, Flags] = {
    "20G": {"optimizer_type": ["adamw8bit"]},
    "16G": ADAFACTOR,
    "12G": ADAFACTOR | {"split_mode": [], "network_args": ["train_blocks=single"]},
}
"""The form's VRAM -> flags."""

TRANSFORMERS = {
    "flux-dev": "models/unet/flux1-dev.sft",
    "flux-schnell": "models/unet/flux1-schnell.safetensors",
    "bdsqlsz/flux1-dev2pro-single": "models/unet/bdsqlsz/flux1-dev2pro-single/flux1-dev2pro.safetensors",
}
"""The form's base model -> its file, relative to the home."""


class Form(msgspec.Struct, frozen=True):
    """The values as they were found. A value that is missing or has another type counts as the form's default."""

    values: dict[str, Any]

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else default

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def word(self, key: str, default: str) -> str:
        """A number or a text as it was on the command line. Gradio may have turned 16 into 16.0."""
        number = self.number(key)
        return f"{number:g}" if number is not None else (self.text(key).strip() or default)


def read(data: bytes) -> Form | None:
    """Parses the file. None if it is not a ui_state.json, or a torn one: the older FluxGym writes it in place."""
    try:
        values = decode(data, dict[str, Any])
    except msgspec.MsgspecError:
        return None
    return Form(values) if "lora_name" in values else None


def trainer_flags(form: Form) -> Flags:
    """The flags that train.sh had for this form."""
    base = form.text("base_model", "flux-dev")
    given: Flags = {
        "pretrained_model_name_or_path": [TRANSFORMERS.get(base, base)],
        "clip_l": ["models/clip/clip_l.safetensors"],
        "t5xxl": ["models/clip/t5xxl_fp16.safetensors"],
        "ae": ["models/vae/ae.sft"],
        "cache_latents_to_disk": [],
        "save_model_as": ["safetensors"],
        "sdpa": [],
        "persistent_data_loader_workers": [],
        "max_data_loader_n_workers": [form.word("workers", "2")],
        "seed": [form.word("seed", "42")],
        "gradient_checkpointing": [],
        "mixed_precision": ["bf16"],
        "save_precision": ["bf16"],
        "network_module": ["networks.lora_flux"],
        "network_dim": [form.word("network_dim", "4")],
        "learning_rate": [form.word("learning_rate", "8e-4")],
        "cache_text_encoder_outputs": [],
        "cache_text_encoder_outputs_to_disk": [],
        "fp8_base": [],
        "highvram": [],
        "max_train_epochs": [form.word("max_train_epochs", "16")],
        "save_every_n_epochs": [form.word("save_every_n_epochs", "4")],
        "timestep_sampling": [form.word("timestep_sampling", "shift")],
        "discrete_flow_shift": ["3.1582"],
        "model_prediction_type": ["raw"],
        "guidance_scale": [form.word("guidance_scale", "1")],
        "loss_type": ["l2"],
    }
    given |= TIERS.get(form.text("vram", "20G"), TIERS["20G"])
    if form.text("sample_prompts").strip() and (form.number("sample_every_n_steps") or 0) > 0:
        given["sample_every_n_steps"] = [form.word("sample_every_n_steps", "0")]
    return given
