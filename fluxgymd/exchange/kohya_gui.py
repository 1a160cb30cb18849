# SPDX-License-Identifier: Apache-2.0
"""A settings file of the GUI bmaltais/kohya_ss (JSON) as settings of a job. Most keys are sd-scripts' flags."""

from collections.abc import Mapping
from typing import Any

from fluxgymd.exchange import sd_scripts
from fluxgymd.exchange.carried import Carried, asks_nothing, refuse
from fluxgymd.importing import script

RENAMED = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "flux1_cache_text_encoder_outputs": "cache_text_encoder_outputs",
    "flux1_cache_text_encoder_outputs_to_disk": "cache_text_encoder_outputs_to_disk",
}
"""Key of the GUI -> sd-scripts' flag."""

OF_THE_GUI = frozenset(
    {
        *("LoRA_type", "LyCORIS_preset", "additional_parameters", "block_alphas", "block_dims", "bypass_mode"),
        *("block_lr_zero_threshold", "constrain", "conv_alpha", "conv_block_alphas", "conv_block_dims", "conv_dim"),
        *("decompose_both", "dora_wd", "down_lr_weight", "mid_lr_weight", "up_lr_weight", "dynamo_backend"),
        *("dynamo_mode", "dynamo_use_dynamic", "dynamo_use_fullgraph", "extra_accelerate_launch_args", "factor"),
        *("flux1_checkbox", "sdxl", "sd3_checkbox", "lowvram", "main_process_port", "model_list", "multi_gpu"),
        *("num_cpu_threads_per_process", "num_machines", "num_processes", "rank_dropout_scale", "rescaled"),
        *("save_as_bool", "sdxl_cache_text_encoder_outputs", "sdxl_no_half_vae", "stop_text_encoder_training"),
        *("train_norm", "train_on_input", "unit", "use_cp", "use_scalar", "use_tucker", "epoch", "lr_warmup"),
        *("max_data_loader_n_workers", "xformers", "gpu_ids", "text_encoder_lr", "unet_lr", "lr_warmup_steps"),
        *("log_config", "full_bf16", "output_dir", "t5xxl_lr", "mem_eff_save", "train_t5xxl"),
    }
)
"""Keys that are read here, that only matter to the GUI, or that belong to other kinds of LoRA and models."""

NETWORK_ARGS = (
    *("train_blocks", "img_attn_dim", "img_mlp_dim", "img_mod_dim", "single_dim", "txt_attn_dim", "txt_mlp_dim"),
    *("txt_mod_dim", "single_mod_dim", "in_dims", "train_double_block_indices", "train_single_block_indices"),
    *("rank_dropout", "module_dropout", "loraplus_lr_ratio", "loraplus_unet_lr_ratio"),
    "loraplus_text_encoder_lr_ratio",
)
"""Keys that sd-scripts takes as --network_args."""


def convert(document: Mapping[str, Any], carried: Carried) -> None:
    kind = document.get("LoRA_type", "Flux1")
    if kind != "Flux1":
        raise refuse(f"The file is for a LoRA of type {kind}; FluxGym trains FLUX.1 only (LoRA_type Flux1).")
    said = {
        RENAMED.get(key, key): value
        for key, value in document.items()
        if key not in OF_THE_GUI and key not in NETWORK_ARGS
    }
    said["max_train_epochs"] = document.get("max_train_epochs") or document.get("epoch")
    arguments = [f"{key}={document[key]}" for key in NETWORK_ARGS if _given(document.get(key))]
    said["network_args"] = [*carried.words("network_args", said.get("network_args") or ""), *arguments]
    share = document.get("lr_warmup")
    if isinstance(share, int | float) and share > 0:
        said["lr_warmup_steps"] = share / 100  # the GUI has per cent
    elif document.get("lr_warmup_steps"):
        said["lr_warmup_steps"] = document["lr_warmup_steps"]
    _rates(document, said)
    processes = document.get("num_processes")
    if isinstance(processes, int) and processes > 1:
        carried.fields["gpu_count"] = processes
    sd_scripts.flags(said, carried)
    more = carried.words("additional_parameters", document.get("additional_parameters") or "")
    for name, words in script.flags(more).items():
        carried.flag(name, words[0] if len(words) == 1 else (words or True))


def _rates(document: Mapping[str, Any], said: dict[str, Any]) -> None:
    """The GUI trains a part if its rate is not 0, or both parts if neither has a rate."""
    clip, transformer = document.get("text_encoder_lr"), document.get("unet_lr")
    if _given(clip):
        said["text_encoder_lr"] = clip if isinstance(clip, list) else [clip]
    if _given(transformer):
        said["unet_lr"] = transformer
        if not _given(clip):
            said["network_train_unet_only"] = True


def _given(value: object) -> bool:
    return not asks_nothing(value) and value not in (0, "all")
