# SPDX-License-Identifier: Apache-2.0
"""The values that are drawn for each setting, and the reasons why some settings are not drawn.

Switches and flags with choices need no entry: the trainer's own table lists their values. test_coverage.py fails for
a flag, dataset key, network argument, optimizer, schedule or field that is in neither list.
"""

from __future__ import annotations

from collections.abc import Mapping

from fluxgym.protocol.messages import RestartPolicy, TriggerPlace

Options = dict[str, list[str]]
OFF = ["false"]


def by_name(reasons: Mapping[str, str]) -> dict[str, str]:
    return {name: reason for reason, names in reasons.items() for name in names.split()}


# -- flags of the trainer ----------------------------------------------------------------------------------------

VALUES: dict[str, tuple[list[str], ...]] = {
    # Data. The other keys of the daemon's dataset.toml are fields of the job.
    "train_batch_size": (["2"], ["3"]),
    "bucket_reso_steps": (["64"],),
    "min_bucket_reso": (["32"], ["64"]),
    "max_bucket_reso": (["128"], ["160"]),
    "caption_extension": ([".txt"],),
    "caption_extention": ([".txt"],),
    "caption_separator": ([","], [";"]),
    "caption_prefix": (["a photo of"],),
    "caption_suffix": (["in the rain"],),
    "keep_tokens": (["0"], ["2"]),
    "keep_tokens_separator": (["|||"],),
    "secondary_separator": ([";;"],),
    "caption_dropout_rate": (["0.3"], ["1"]),
    "caption_dropout_every_n_epochs": (["2"],),
    "caption_tag_dropout_rate": (["0.4"],),
    "token_warmup_min": (["2"],),
    "token_warmup_step": (["0.5"], ["9"]),
    "vae_batch_size": (["2"],),
    "text_encoder_batch_size": (["2"],),
    "max_data_loader_n_workers": (["0"], ["1"], ["3"]),
    "t5xxl_max_token_length": (["24"], ["48"]),
    # Output.
    "save_every_n_steps": (["3"], ["7"]),
    "save_last_n_epochs": (["1"], ["2"]),
    "save_last_n_epochs_state": (["1"], ["2"]),
    "save_last_n_steps": (["4"], ["9"]),
    "save_last_n_steps_state": (["4"], ["9"]),
    "training_comment": (["two words"], ['-dash and "quotes"']),
    "logging_dir": (["logs"],),
    "log_prefix": (["run-"],),
    "log_tracker_name": (["tracked"],),
    "log_with": (["tensorboard"],),
    "save_model_as": (["safetensors"],),
    # Network.
    "network_module": (["networks.lora_flux"],),
    "network_alpha": (["1"], ["0"], ["0.5"], ["8"]),
    "network_dropout": (["0.2"],),
    "ema_decay": (["0.9"],),
    "scale_weight_norms": (["0.05"], ["1"]),
    # Optimizer and schedule. OPTIMIZER_ARGS and SCHEDULES have the arguments that they need.
    "unet_lr": (["1e-3"],),
    "text_encoder_lr": (["5e-4"], ["5e-4", "1e-4"]),
    "lr_warmup_steps": (["4"], ["0.25"], ["10%"]),
    "lr_decay_steps": (["5"], ["0.3"]),
    "lr_scheduler_num_cycles": (["2"],),
    "lr_scheduler_power": (["2"],),
    "lr_scheduler_timescale": (["6"],),
    "lr_scheduler_min_lr_ratio": (["0.1"],),
    "max_grad_norm": (["0"], ["0.1"]),
    "gradient_accumulation_steps": (["2"], ["3"]),
    # Memory and speed.
    "blocks_to_swap": (["2"],),
    "mixed_precision": (["no"], ["bf16"]),
    "model_type": (["flux"],),
    # Noise and loss.
    "guidance_scale": (["1"], ["3.5"]),
    "sigmoid_scale": (["0.7"],),
    "discrete_flow_shift": (["1"], ["3.1582"]),
    "logit_mean": (["0.3"],),
    "logit_std": (["0.8"],),
    "mode_scale": (["1"],),
    "huber_c": (["0.2"],),
    "huber_scale": (["0.8"],),
    "prior_loss_weight": (["0.5"],),
    "min_snr_gamma": (["5"],),
    # Validation.
    "validation_split": (["0.25"], ["0.5"]),
    "validation_seed": (["7"],),
    "validate_every_n_steps": (["4"],),
    "validate_every_n_epochs": (["2"],),
    "max_validation_steps": (["1"],),
}

NOT_DRAWN = by_name(
    {
        "the daemon writes it, from the job's fields": """
            pretrained_model_name_or_path clip_l t5xxl ae tokenizer_cache_dir dataset_config output_dir output_name
            save_every_n_epochs save_state resume initial_epoch network_dim learning_rate max_train_epochs seed
            sample_prompts sample_every_n_epochs sample_every_n_steps resolution dataset_repeats enable_bucket""",
        "dataset.toml, which the daemon writes, is given instead": "train_data_dir reg_data_dir",
        "max_train_epochs, which the daemon writes, overrides it": "max_train_steps",
        "a file of flags would hide what a job asks for": "config_file",
        "optimizers and schedules are dealt apart": """
            optimizer_type optimizer_args lr_scheduler lr_scheduler_type lr_scheduler_args network_args""",
        "needs a LoRA of the same layers; tests/sd_scripts/train/test_resume.py resumes with one": """
            network_weights dim_from_weights""",
        "it lets a run go on although it will end differently": "replan",
        "the compiler takes minutes; tests/sd_scripts/compute/test_compiling_for_real.py resumes compiled runs": """
            compile no_compile compile_backend compile_mode compile_dynamic compile_fullgraph
            compile_cache_size_limit torch_compile dynamo_backend""",
        "of a GPU's memory; tests/sd_scripts/on_gpu resumes with it": "vram",
        "it asks and trains nothing": "help check_job plan",
        "it hangs on purpose": "debug_hang debug_hang_once",
    }
)

CHOICES_LEFT_OUT = {
    "attention": ("cudnn", "flash", "efficient"),  # these kernels need a GPU
    "huber_schedule": ("snr",),  # the trainer refuses it: Flux has no signal-to-noise ratio
}

UNCACHED = {"cache_text_encoder_outputs": OFF, "cache_text_encoder_outputs_to_disk": OFF}
"""The flags for captions that change at each step, which cannot be cached."""
SIGMA = {"timestep_sampling": ["sigma"], "model_prediction_type": ["sigma_scaled"]}
HUBER = {"loss_type": ["huber"], "huber_schedule": ["exponential"]}
VALIDATED = {"validation_split": ["0.25"]}
TAGS = {"shuffle_caption": [], **UNCACHED}
BUCKETS = ("bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso")
"""Flags that are refused without the field enable_bucket."""
SAVED = {"save_every_n_steps": ["3"]}
LOGGED = {"logging_dir": ["logs"]}
LOGIT_NORMAL = {**SIGMA, "weighting_scheme": ["logit_normal"]}

NEEDS: dict[str, Options] = {
    **dict.fromkeys(
        ("shuffle_caption", "enable_wildcard", "caption_tag_dropout_rate", "token_warmup_step"), UNCACHED
    ),
    **dict.fromkeys(("keep_tokens", "keep_tokens_separator", "caption_separator"), TAGS),
    "token_warmup_min": {"token_warmup_step": ["0.5"], **UNCACHED},
    "bucket_reso_steps": {"min_bucket_reso": ["64"]},
    **dict.fromkeys(("save_last_n_steps", "save_last_n_steps_state"), SAVED),
    **dict.fromkeys(("log_prefix", "log_tracker_name", "log_with"), LOGGED),
    "text_encoder_lr": {"network_train_unet_only": OFF},
    "fp8_base": {"mixed_precision": ["bf16"]},
    "fp8_base_unet": {"mixed_precision": ["bf16"]},
    "cpu_offload_checkpointing": {"gradient_checkpointing": []},
    "sigmoid_scale": {"timestep_sampling": ["sigmoid"]},
    "weighting_scheme": SIGMA,
    **dict.fromkeys(("logit_mean", "logit_std"), LOGIT_NORMAL),
    "mode_scale": {**SIGMA, "weighting_scheme": ["mode"]},
    **dict.fromkeys(("huber_schedule", "huber_c", "huber_scale"), HUBER),
    "loss_type": {"huber_schedule": ["constant"]},
    **dict.fromkeys(
        ("validation_seed", "validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps"), VALIDATED
    ),
    "lr_warmup_steps": {"lr_scheduler": ["cosine"]},
    "lr_decay_steps": {"lr_scheduler": ["warmup_stable_decay"]},
    "lr_scheduler_num_cycles": {"lr_scheduler": ["cosine_with_restarts"]},
    "lr_scheduler_power": {"lr_scheduler": ["polynomial"]},
    "lr_scheduler_timescale": {"lr_scheduler": ["inverse_sqrt"]},
    "lr_scheduler_min_lr_ratio": {"lr_scheduler": ["cosine_with_min_lr"]},
}
"""Flag -> other flags without which it has no effect."""

# -- keys of dataset.toml ----------------------------------------------------------------------------------------

KEYS_BY_FIELD = {
    "resolution": "resolution",
    "num_repeats": "repeats",
    "class_tokens": "trigger_word",
    "image_dir": "dataset",
    "enable_bucket": "enable_bucket",
}
KEYS_BY_FLAG = {"batch_size": "train_batch_size"}
"""Keys whose flag has another name."""
FLAGS_OF_KEYS = {"train_batch_size": "batch_size", "caption_extention": "caption_extension"}
"""The other way round, with the older spelling of a flag."""
KEYS_NOT_DRAWN = by_name(
    {
        "of a part; tests/settings/test_trained.py trains one": "is_reg",
        "only 1.0 is taken": "network_multiplier",
    }
)

# -- network arguments -------------------------------------------------------------------------------------------

NETWORK_ARGS: dict[str, tuple[str, ...]] = {
    "train_blocks": ("double", "single", "all"),
    **dict.fromkeys(("img_attn_dim", "txt_attn_dim", "img_mlp_dim", "txt_mlp_dim", "single_dim"), ("0", "2", "6")),
    **dict.fromkeys(("img_mod_dim", "txt_mod_dim", "single_mod_dim"), ("0", "3")),
    "in_dims": ("[2,0,0,0,2]", "[1,2,1,2,1]"),
    "train_double_block_indices": ("0", "all"),
    "train_single_block_indices": ("0-1", "none"),
    "network_reg_dims": ("img_attn=3,single_blocks_0=2",),
    "network_reg_lrs": ("img_mlp=1e-3,txt=5e-4",),
    "rank_dropout": ("0.2",),
    "module_dropout": ("0.2",),
    "loraplus_lr_ratio": ("4",),
    "loraplus_unet_lr_ratio": ("2",),
    "loraplus_text_encoder_lr_ratio": ("2",),
}
NETWORK_ARG_NEEDS: dict[str, Options] = {"loraplus_text_encoder_lr_ratio": {"network_train_unet_only": OFF}}

# -- optimizers and schedules ------------------------------------------------------------------------------------

OPTIMIZERS_NOT_DRAWN = {
    "torch.optim.LBFGS": "it needs several losses a step",
    "torch.optim.SparseAdam": "it is for sparse gradients",
}
RATES = {
    "prodigy": 1.0,
    "torch.optim.Adadelta": 1.0,
    **dict.fromkeys(("sgdnesterov", "torch.optim.SGD", "torch.optim.ASGD", "sgdschedulefree"), 1e-2),
}
"""The learning rates of optimizers that would make no visible progress with the usual one."""
OPTIMIZER_ARGS: dict[str, tuple[list[str], ...]] = {
    **dict.fromkeys(
        ("adamw", "adamw8bit", "prodigy", "torch.optim.Adam"), (["weight_decay=0.1", "betas=(0.8,0.95)"],)
    ),
    "adafactor": (["relative_step=False", "scale_parameter=False", "warmup_init=False"],),
    **dict.fromkeys(("adamwschedulefree", "radamschedulefree", "sgdschedulefree"), (["weight_decay=0.05"],)),
    "torch.optim.SGD": (["momentum=0.9", "dampening=0.1"],),
    "torch.optim.RMSprop": (["centered=True", "momentum=0.5"],),
    "torch.optim.Adamax": (["weight_decay=0.1"],),
}
WITHOUT_A_SCHEDULE = ("adamwschedulefree", "radamschedulefree", "sgdschedulefree", "adafactor")
"""Optimizers that set their own rate; Adafactor does if relative_step is on."""

SCHEDULES: dict[str, Options] = {
    "constant_with_warmup": {"lr_warmup_steps": ["4"]},
    "cosine_with_min_lr": {"lr_scheduler_min_lr_ratio": ["0.1"]},
    "cosine_with_restarts": {"lr_scheduler_num_cycles": ["2"]},
    "warmup_stable_decay": {"lr_warmup_steps": ["2"], "lr_decay_steps": ["5"]},
    "piecewise_constant": {"lr_scheduler_args": ["step_rules='1:4,0.5:9,0.1'"]},
}
"""The flags that some of sd-scripts' schedules need."""
SCHEDULE_CLASSES: dict[str, list[str]] = {
    "StepLR": ["step_size=4", "gamma=0.5"],
    "MultiStepLR": ["milestones=[3,8]"],
    "ConstantLR": ["total_iters=6"],
    "LinearLR": ["total_iters=9"],
    "ExponentialLR": ["gamma=0.9"],
    "CosineAnnealingLR": ["T_max=9"],
    "CyclicLR": ["base_lr=1e-4", "max_lr=2e-3", "step_size_up=3", "cycle_momentum=False"],
    "CosineAnnealingWarmRestarts": ["T_0=5"],
    "OneCycleLR": ["max_lr=2e-3", "total_steps=1000", "cycle_momentum=False"],
    "PolynomialLR": ["total_iters=9"],
}
SCHEDULES_NOT_DRAWN = by_name(
    {
        "it takes a function, which no command line carries": "LambdaLR MultiplicativeLR",
        "it takes other schedules": "SequentialLR ChainedScheduler",
        "it wants to be told a loss": "ReduceLROnPlateau",
    }
)

# -- the daemon's own fields -------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[object, ...]] = {
    "trigger_word": (None, "s1gn", 'a "quoted" c4t, \\ with é'),
    "trigger_place": (TriggerPlace.FIRST, TriggerPlace.MISSING, TriggerPlace.NONE),
    "resolution": (64, 96, 128),
    "enable_bucket": (True, False),
    "repeats": (1, 2),
    "epochs": (2, 3, 4),
    "save_every_epochs": (1, 2, 3),
    "seed": (0, 42, 2**63 - 1),
    "learning_rate": (5e-4, 2e-3),
    "network_dim": (1, 2, 4, 8),
    "keep_states": (1, 2, 3),
    "restart": (RestartPolicy.NEVER, RestartPolicy.ON_INTERRUPTION, RestartPolicy.ON_FAILURE),
}
SAMPLED = ("sample_prompts", "sample_every_steps", "sample_every_epochs")
"""Fields that are drawn together."""
PROMPTS = ["a sign --w 64 --h 64 --s 2 --d 3", "s1gn, number 2 --w 64 --h 96 --s 1"]
FIELDS_NOT_DRAWN = by_name(
    {
        "it is the draw's own": "name dataset model trainer_options",
        "dataset excludes it; tests/settings/test_trained.py has it": "parts",
        "of programs": "program kind",
        "resolution excludes it; tests/settings/test_trained.py has it": "resolutions",
        "about the queue, which tests/daemon/test_queue.py is about": "priority held after",
        "of GPUs": "gpus gpu_count",
        "of another job, which tests/daemon/test_resume_from.py is about": "resume_from",
        "about hangs, which tests/daemon/test_hangs.py is about": "watchdog watchdog_limits",
    }
)
