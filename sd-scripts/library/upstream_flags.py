# SPDX-License-Identifier: Apache-2.0
"""Names of sd-scripts' flags (flux_train_network.py at 48d368f) that this trainer does not have yet.

A flag named here is refused with a sentence of its own; one that neither program has is a mistake, and the
nearest right name is told. Issue 5 moves names from here into `options.py`.
"""

NOT_THERE_YET = frozenset(
    """
    --adaptive_noise_scale --alpha_mask --apply_t5_attn_mask --async_upload --base_weights
    --base_weights_multiplier --blocks_to_swap --bucket_no_upscale --bucket_reso_steps --cache_info
    --caption_dropout_every_n_epochs --caption_dropout_rate --caption_extention --caption_prefix
    --caption_separator --caption_suffix --caption_tag_dropout_rate --clip_skip --color_aug
    --conditioning_data_dir --config_file --console_log_file --console_log_level
    --controlnet_model_name_or_path --cpu_offload_checkpointing --dataset_class --dataset_repeats
    --ddp_gradient_as_bucket_view --ddp_static_graph --ddp_timeout --debiased_estimation_loss --debug_dataset
    --deepspeed --disable_mmap_load_safetensors --dynamo_backend --enable_bucket
    --enable_wildcard --face_crop_aug_range --flip_aug --fp16_master_weights_and_gradients --fp8_base
    --fp8_base_unet --full_bf16 --full_fp16 --fused_backward_pass
    --huggingface_path_in_repo --huggingface_repo_id --huggingface_repo_type --huggingface_repo_visibility
    --huggingface_token --in_json --initial_step --ip_noise_gamma --ip_noise_gamma_random_strength
    --keep_tokens --keep_tokens_separator --log_config --log_prefix --log_tracker_config --log_tracker_name
    --log_with --logging_dir --lowram
    --max_bucket_reso --max_timestep --max_token_length
    --max_validation_steps --metadata_author --metadata_description --metadata_is_negative_embedding
    --metadata_license --metadata_merged_from --metadata_preprocessor --metadata_tags --metadata_thumbnail
    --metadata_title --metadata_trigger_phrase --metadata_usage_hint --min_bucket_reso
    --min_timestep --multires_noise_discount --multires_noise_iterations
    --network_train_text_encoder_only --no_metadata --noise_offset
    --noise_offset_random_strength --offload_optimizer_device --offload_optimizer_nvme_path
    --offload_param_device --offload_param_nvme_path --optimizer_schedulefree_wrapper --output_config
    --perlin_noise --random_crop --reg_data_dir --resize_interpolation --resolution
    --resume_from_huggingface --sample_sampler --save_n_epoch_ratio --save_state_to_huggingface
    --scale_v_pred_loss_like_noise_pred --schedulefree_wrapper_args --secondary_separator
    --shuffle_caption --skip_until_initial_step --split_mode --text_encoder_batch_size --token_warmup_min
    --token_warmup_step --torch_compile --train_data_dir --use_8bit_adam --use_lion_optimizer --use_safetensors
    --v2 --v_parameterization --v_pred_like_loss --vae --vae_batch_size --validate_every_n_epochs
    --validate_every_n_steps --validation_seed --validation_split --wandb_api_key --wandb_run_name
    --weighted_captions --zero3_init_flag --zero3_save_16bit_model --zero_stage --zero_terminal_snr
    """.split()  # noqa: SIM905 (as a list it would take a screen and a half)
)
