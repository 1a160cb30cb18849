# SPDX-License-Identifier: Apache-2.0
"""The `ss_*` and `modelspec.*` metadata of a LoRA, with the keys and the spelling that sd-scripts writes.

All values are text, including "None" and "False". The keys are those of a recorded file
(tests/sd_scripts/upstream/sd-scripts-lora-header.json); a feature that this trainer lacks gets the value for "off".
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass

from library.data.dataset import Dataset
from library.data.dataset_keys import size
from library.family.port import BaseModel, ModelSpec
from library.files.hashes import legacy_model_hash
from library.files.sha256 import file_sha256
from library.options.options import Options
from library.options.plan import Plan
from library.output import dataset_metadata

# Options whose value is written unchanged.
FROM_OPTIONS = (
    *("learning_rate", "text_encoder_lr", "unet_lr", "gradient_checkpointing", "gradient_accumulation_steps"),
    *("lr_scheduler", "network_module", "mixed_precision", "max_grad_norm", "training_comment", "loss_type"),
    *("cache_latents", "guidance_scale", "timestep_sampling", "sigmoid_scale", "model_prediction_type"),
    *("discrete_flow_shift", "weighting_scheme", "model_type"),
)
# Names by the value that sd-scripts writes when the option is not used. If this trainer has the option, its value is
# written instead.
OFF = {
    "None": (
        *("adaptive_noise_scale", "noise_offset", "network_dropout", "max_token_length", "face_crop_aug_range"),
        *("max_validation_steps", "multires_noise_iterations", "validation_seed", "clip_skip"),
        *("resize_interpolation", "scale_weight_norms", "min_snr_gamma", "ip_noise_gamma"),
        *("validate_every_n_epochs", "validate_every_n_steps"),
    ),
    "False": (
        *("debiased_estimation", "zero_terminal_snr", "lowram", "noise_offset_random_strength", "full_fp16", "v2"),
        *("fp8_base", "fp8_base_unet", "apply_t5_attn_mask", "ip_noise_gamma_random_strength"),
    ),
    "0": ("lr_warmup_steps", "caption_dropout_every_n_epochs"),
    "0.0": ("logit_mean", "caption_tag_dropout_rate", "validation_split", "caption_dropout_rate"),
    "1.0": ("logit_std", "huber_scale", "prior_loss_weight"),
    "0.1": ("huber_c",),
    "0.3": ("multires_noise_discount",),
    "1.29": ("mode_scale",),
    "snr": ("huber_schedule",),
    "(unknown)": ("sd_scripts_commit_hash",),
}


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of the program. Neither value affects the training."""

    identity: int
    started_at: float

    @classmethod
    def new(cls) -> Session:
        return cls(identity=random.SystemRandom().randrange(2**32), started_at=time.time())


def build(
    *,
    options: Options,
    dataset: Dataset,
    validated: Dataset | None,
    plan: Plan,
    seed: int,
    session: Session,
    optimizer: str,
    base: BaseModel,
    step: int,
) -> dict[str, str]:
    """All metadata except the two hashes of the tensors. `optimizer`: the class that is really used, with its module.
    `step`: the number of steps done."""
    written = {f"ss_{name}": str(getattr(options, name, value)) for value, names in OFF.items() for name in names}
    written |= {f"ss_{name}": str(getattr(options, name)) for name in FROM_OPTIONS}
    written |= _run(options, plan, seed, session, optimizer, step)
    written |= dataset_metadata.build(options, dataset, validated, plan)
    written |= _model(options, base.spec)
    return written | _modelspec(options, base.spec)


def _run(options: Options, plan: Plan, seed: int, session: Session, optimizer: str, step: int) -> dict[str, str]:
    optimizer_args = ",".join(f"{name}={value}" for name, value in options.optimizer_args or [])
    written = {
        "ss_session_id": str(session.identity),
        "ss_training_started_at": str(session.started_at),
        "ss_training_finished_at": str(time.time()),
        "ss_output_name": str(options.output_name),
        "ss_seed": str(seed),
        "ss_steps": str(step),
        "ss_epoch": str(plan.epoch_of(step)),
        "ss_num_epochs": str(plan.total_epochs),
        "ss_max_train_steps": str(plan.total_steps),
        "ss_network_dim": str(options.network_dim),
        "ss_network_alpha": f"{options.network_alpha:g}",
        "ss_optimizer": optimizer + (f"({optimizer_args})" if optimizer_args else ""),
    }
    written["ss_cache_latents"] = str(options.cache_latents or options.cache_latents_to_disk)
    if options.network_args:
        written["ss_network_args"] = json.dumps(dict(options.network_args))
    return written


def _model(options: Options, spec: ModelSpec) -> dict[str, str]:
    path = options.pretrained_model_name_or_path
    return {
        "ss_base_model_version": spec.version,
        "ss_sd_model_name": path.name,
        "ss_sd_model_hash": legacy_model_hash(path),
        "ss_new_sd_model_hash": file_sha256(path),
    }


def _modelspec(options: Options, spec: ModelSpec) -> dict[str, str]:
    # The resolution in a dataset.toml is not used here.
    trained = size(options.resolution or spec.side)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{spec.architecture}/lora",
        "modelspec.implementation": spec.implementation,
        "modelspec.implementation_version": "fluxgym",
        "modelspec.title": options.output_name or "last",
        "modelspec.resolution": f"{trained.width}x{trained.height}",
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
