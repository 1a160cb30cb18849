# SPDX-License-Identifier: Apache-2.0
"""Flags of sd-scripts (flux_train_network.py at 48d368f) that this trainer does not have, each with the reason.

A flag named here is refused with its reason; one that neither program has is a mistake, and the nearest right name is
told. Who builds one moves its name from here into `options.py`; tests/trainer/test_docs.py compares both with the
list recorded from the other program.
"""

from __future__ import annotations

YET = "not there yet"
_REASONS: dict[str, str] = {
    YET: """
        --conditioning_data_dir --disable_mmap_load_safetensors
        --full_bf16
        --use_8bit_adam""",
    "it changes the picture at each step, and pictures are encoded once": """
        --color_aug --face_crop_aug_range --random_crop""",
    "a dataset is folders of pictures with caption files": "--dataset_class --in_json",
    "sd-scripts has it for SD and SDXL, and it does nothing for Flux": """
        --clip_skip --debiased_estimation_loss --max_timestep --max_token_length --min_timestep --sample_sampler
        --scale_v_pred_loss_like_noise_pred --v2 --v_parameterization --v_pred_like_loss --vae --weighted_captions
        --zero_terminal_snr""",
    "noise is Flux's own": """
        --adaptive_noise_scale --ip_noise_gamma --ip_noise_gamma_random_strength --multires_noise_discount
        --multires_noise_iterations --noise_offset --noise_offset_random_strength""",
    "a state is gone on from exactly where it was made": "--initial_step --skip_until_initial_step",
    "there is nothing in the network that the trainer talks to": """
        --async_upload --huggingface_path_in_repo --huggingface_repo_id --huggingface_repo_type
        --huggingface_repo_visibility --huggingface_token --log_tracker_config --resume_from_huggingface
        --save_state_to_huggingface --wandb_api_key --wandb_run_name""",
    "the optimizer and the model fit on one GPU": """
        --deepspeed --fp16_master_weights_and_gradients --full_fp16 --fused_backward_pass --offload_optimizer_device
        --offload_optimizer_nvme_path --offload_param_device --offload_param_nvme_path --zero3_init_flag
        --zero3_save_16bit_model --zero_stage""",
    "gradients of several GPUs are added up without DDP": "--ddp_gradient_as_bucket_view --ddp_static_graph",
    "processes wait for each other without a limit": "--ddp_timeout",
    "all settings are in the LoRA's metadata and the job's folder": "--log_config --output_config",
    "the log is plain lines on stdout and stderr": "--console_log_file --console_log_level --debug_dataset",
    "an optimizer is named by --optimizer_type": "--use_lion_optimizer",
    "a base model is what one file says": "--base_weights --base_weights_multiplier --controlnet_model_name_or_path",
    "T5's padding is not masked, as FLUX.1 was trained": "--apply_t5_attn_mask",
    "the transformer is always trained": "--network_train_text_encoder_only",
    "metadata is always written; tools edit it afterwards": """
        --metadata_author --metadata_description --metadata_is_negative_embedding --metadata_license
        --metadata_merged_from --metadata_preprocessor --metadata_tags --metadata_thumbnail --metadata_title
        --metadata_trigger_phrase --metadata_usage_hint --no_metadata""",
    "--save_every_n_epochs says the same": "--save_n_epoch_ratio",
}

NOT_THERE: dict[str, str] = {name: reason for reason, names in _REASONS.items() for name in names.split()}
