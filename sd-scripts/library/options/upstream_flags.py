# SPDX-License-Identifier: Apache-2.0
"""Flags of sd-scripts (flux_train_network.py at 48d368f) that this trainer does not have, each with the reason.

The flags in `NOT_THERE` would change the training, so they are refused by name unless they are off. Those in
`WITHOUT_EFFECT` do not change a Flux LoRA in sd-scripts either, so they are accepted, and one line names them. To
implement a flag, move its name from here to `options.py`; tests/sd_scripts/test_docs.py compares all flags with the
list recorded from sd-scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

YET = "not yet"


def _by_name(reasons: Mapping[str, str]) -> dict[str, str]:
    return {name: reason for reason, names in reasons.items() for name in names.split()}


NOT_THERE: dict[str, str] = _by_name(
    {
        YET: """
            --conditioning_data_dir --disable_mmap_load_safetensors
            --full_bf16
            --use_8bit_adam""",
        "it changes the pictures at each step, but each picture is encoded only once": """
            --color_aug --face_crop_aug_range --random_crop""",
        "a dataset consists of folders with pictures and caption files": "--dataset_class --in_json",
        "sd-scripts does not weight captions for Flux either": "--weighted_captions",
        "the noise stays as Flux defines it": "--ip_noise_gamma --ip_noise_gamma_random_strength",
        "a resumed run continues exactly where its state was saved": "--initial_step --skip_until_initial_step",
        "the trainer does not use the network": """
            --huggingface_repo_id --log_tracker_config --resume_from_huggingface --save_state_to_huggingface""",
        "the optimizer and the model fit on one GPU": """
            --deepspeed --fp16_master_weights_and_gradients --full_fp16 --fused_backward_pass
            --offload_optimizer_device --offload_optimizer_nvme_path --offload_param_device --offload_param_nvme_path
            --zero3_init_flag --zero3_save_16bit_model --zero_stage""",
        "the gradients of several GPUs are combined without DDP": "--ddp_gradient_as_bucket_view --ddp_static_graph",
        "processes wait for each other without a time limit": "--ddp_timeout",
        "all settings are recorded in the LoRA's metadata and the job's folder": "--log_config --output_config",
        "the log goes to stdout and stderr as plain lines": "--console_log_file --console_log_level --debug_dataset",
        "--optimizer_type selects the optimizer": "--use_lion_optimizer",
        "the base model is used exactly as its file holds it": """
            --base_weights --base_weights_multiplier --controlnet_model_name_or_path""",
        "FLUX.1 was trained without masking T5's padding": "--apply_t5_attn_mask",
        "the transformer is always trained": "--network_train_text_encoder_only",
        "metadata is always written, and other tools can edit it later": """
            --metadata_author --metadata_description --metadata_is_negative_embedding --metadata_license
            --metadata_merged_from --metadata_preprocessor --metadata_tags --metadata_thumbnail --metadata_title
            --metadata_trigger_phrase --metadata_usage_hint --no_metadata""",
        "--save_every_n_epochs does the same": "--save_n_epoch_ratio",
    }
)

WITHOUT_EFFECT: dict[str, str] = _by_name(
    {
        "only for SD and SDXL": """
            --clip_skip --debiased_estimation_loss --max_timestep --max_token_length --min_timestep --sample_sampler
            --scale_v_pred_loss_like_noise_pred --v2 --v_parameterization --v_pred_like_loss --vae
            --zero_terminal_snr""",
        "sd-scripts does not use it for Flux's noise": """
            --adaptive_noise_scale --multires_noise_discount --multires_noise_iterations --noise_offset
            --noise_offset_random_strength""",
        "for Weights & Biases, which the trainer does not log to": "--wandb_api_key --wandb_run_name",
        "for uploads, which the trainer does not do": """
            --async_upload --huggingface_path_in_repo --huggingface_repo_type --huggingface_repo_visibility
            --huggingface_token""",
    }
)

# Not flags: keys in the settings files of kohya_ss' GUI. sd-scripts reads none of them for a Flux LoRA.
KEYS_OF_THE_GUI: dict[str, str] = _by_name(
    {
        "for the GUI itself, or for other models": """
            --clip_g --clip_g_dropout_rate --clip_l_dropout_rate --double_blocks_to_swap --enable_scaled_pos_embed
            --epoch --lowvram --mem_eff_save --noise_offset_type --pos_emb_random_crop_rate --save_clip --save_t5xxl
            --show_timesteps --show_timesteps_resolution --single_blocks_to_swap --stop_text_encoder_training
            --t5_dropout_rate --t5xxl_device --t5xxl_dtype --train_inpainting"""
    }
)

# Values that count as off: sd-scripts' default of a flag in `NOT_THERE` that is not simply empty, and the GUI's value
# for no compilation.
DEFAULTS = {"--zero_stage": "2", "--dynamo_backend": "no"}


def is_empty(value: object) -> bool:
    """Whether a value in a file means that nothing is set."""
    return value is None or value is False or value in ("", "None") or value == []


def is_off(name: str, value: object) -> bool:
    """Whether sd-scripts does the same with this value of a flag as without the flag."""
    if name in DEFAULTS and str(value) == DEFAULTS[name]:
        return True
    return is_empty(value) or (name in NOT_THERE and value in (0, "0", "0.0", "false", "False"))


def without_effect(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The words of a command line without the flags of `WITHOUT_EFFECT` and their values, and the names of those
    flags."""
    kept: list[str] = []
    dropped: list[str] = []
    dropping = False
    for word in words:
        if word.startswith("--"):
            name, joined, _ = word.partition("=")
            dropping = name in WITHOUT_EFFECT and not joined
            if name in WITHOUT_EFFECT:
                dropped.append(name)
                continue
        if not dropping:
            kept.append(word)
    return kept, dropped


def sentence(names: Iterable[str]) -> str:
    """One line that names all accepted flags without effect."""
    told = sorted({name.removeprefix("--") for name in names})
    return f"these settings have no effect on a Flux LoRA and are ignored: {', '.join(told)}"
