# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 (flag() and switch() make dataclass fields)
"""The flags that this trainer takes: one field each, with sd-scripts' name, default and meaning.

A flag is described in this table alone: the parser (`arguments.py`) and the check of docs/trainer.md are made from
it. Imports no torch, so that a wrong command line is reported at once.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from library.data.dataset_keys import INTERPOLATIONS
from library.debug_hang import HangPoint, hang_point
from library.errors import nearest
from library.options import network_settings

VRAM = ("auto", "12", "16", "20", "24", "48", "80")
LR_SCHEDULERS = (
    *("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr"),
    *("polynomial", "inverse_sqrt", "warmup_stable_decay", "piecewise_constant"),
)

# The largest 32-bit float, to which these numbers are converted.
LARGEST = 3.4e38

COMPILE_BACKENDS = ("inductor", "aot_eager")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
ATTENTION = ("auto", "sdpa", "cudnn", "flash", "efficient", "math")


_groups: list[str] = []


def group(title: str) -> None:
    """Begins a group of flags: those that follow belong to it."""
    _groups.append(title)


def flag(
    help_text: str,
    *,
    default: Any = None,
    required: bool = False,
    parse: Callable[[str], Any] = str,
    choices: tuple[str, ...] = (),
    many: bool = False,
) -> Any:
    """A flag with a value. `many`: it takes any number of values; none is as if the flag was not given, as in
    sd-scripts."""
    keywords: dict[str, Any] = {"help": help_text, "type": parse, "required": required}
    if not required:
        keywords["default"] = default
    if choices:
        keywords["choices"] = choices
    if many:
        keywords["nargs"] = "*"
    return dataclasses.field(default=default, metadata={"argparse": keywords, "group": _groups[-1]})


def switch(help_text: str) -> Any:
    """A flag without a value."""
    keywords = {"help": help_text, "action": "store_true"}
    return dataclasses.field(default=False, metadata={"argparse": keywords, "group": _groups[-1]})


def count(text: str) -> int:
    """A whole number from 1."""
    return int(_checked(text, int, lambda value: value >= 1, "a whole number of at least 1"))


def natural(text: str) -> int:
    """A whole number from 0."""
    return int(_checked(text, int, lambda value: value >= 0, "a whole number of at least 0"))


def rate(text: str) -> float:
    """A share, from 0 to 1."""
    return _checked(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def positive(text: str) -> float:
    """A finite number above 0."""
    return _checked(text, float, lambda value: 0 < value <= LARGEST, "a number above 0")


def number(text: str) -> float:
    """A finite number."""
    return _checked(text, float, lambda value: abs(value) <= LARGEST, "a number")


def not_negative(text: str) -> float:
    """A finite number from 0."""
    return _checked(text, float, lambda value: 0 <= value <= LARGEST, "a number of at least 0")


def chance(text: str) -> float:
    """A probability below 1."""
    return _checked(text, float, lambda value: 0 <= value < 1, "a number from 0 to less than 1")


def seed_number(text: str) -> int:
    """A whole number from 0 to 2**63 - 1."""
    return int(_checked(text, int, lambda value: 0 <= value < 2**63, "a whole number from 0 to 2**63 - 1"))


def _checked(text: str, kind: type[int | float], right: Callable[[float], bool], what: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not right(value):
        raise argparse.ArgumentTypeError(f"{text} is not {what}")
    return value


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A parser that takes the supported ones of sd-scripts' values, and refuses the others with a sentence."""

    supported: tuple[str, ...]
    any_case: bool

    def __call__(self, text: str) -> str:
        word = text.lower() if self.any_case else text
        if word not in self.supported:
            raise argparse.ArgumentTypeError(f"{text!r} is not supported; choose from {', '.join(self.supported)}")
        return word


def only(*supported: str) -> OneOf:
    """The supported values, in any case."""
    return OneOf(supported, any_case=True)


def exactly(*supported: str) -> OneOf:
    """Like `only`, for case-sensitive names."""
    return OneOf(supported, any_case=False)


def network_arg(text: str) -> tuple[str, str]:
    """`name=value` of --network_args."""
    name, separator, value = text.partition("=")
    if not separator or name not in network_settings.ARGS:
        # Names without a field are not suggested: they accept only the value that changes nothing.
        names = [known for known, arg in network_settings.ARGS.items() if arg.field is not None]
        has = f"supported are {', '.join(names)}{nearest(name, names)}"
        raise argparse.ArgumentTypeError(f"unsupported argument {text!r}; {has}")
    if wrong := network_settings.check(name, value):
        raise argparse.ArgumentTypeError(wrong)
    return name, value


def argument(text: str) -> tuple[str, Any]:
    """`name=value` for an optimizer or a schedule; the value is a Python literal."""
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise argparse.ArgumentTypeError(
            f"{text!r}: {value!r} is not a Python literal: a number, True, False, None, (a, b) or 'text'"
        ) from None


def steps(text: str) -> int | float:
    """A whole number of steps, a share below 1, or a share like `10%`."""
    number = text.removesuffix("%")
    try:
        value = float(number) / 100 if number != text else float(text)
        if value < 1 or number != text:
            return float(_checked(str(value), float, lambda share: 0 <= share <= 1, "a share")) if value else 0
        return int(text)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{text} is not a number of steps, a share below 1, or a percentage such as 10%"
        ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The parsed command line. Fields have the flags' names; None means that the flag was not given."""

    group("Models")
    pretrained_model_name_or_path: Path = flag("the Flux transformer, a safetensors file", required=True, parse=Path)
    clip_l: Path = flag("the CLIP-L text encoder, a safetensors file", required=True, parse=Path)
    t5xxl: Path = flag("the T5-XXL text encoder, a safetensors file", required=True, parse=Path)
    ae: Path = flag("the autoencoder, a safetensors file", required=True, parse=Path)
    tokenizer_cache_dir: Path | None = flag(
        "folder with openai_clip-vit-large-patch14/ and google_t5-v1_1-xxl/", parse=Path
    )
    model_type: str = flag("kind of model", default="flux", parse=only("flux"))
    t5xxl_max_token_length: int | None = flag("T5 tokens per caption (512 for dev, 256 for schnell)", parse=count)

    group("Data")
    dataset_config: Path | None = flag("the dataset.toml (or .json)", parse=Path)
    train_data_dir: Path | None = flag("without dataset.toml: folder with subfolders such as `10_a cat`", parse=Path)
    reg_data_dir: Path | None = flag("the same, for regularisation pictures", parse=Path)
    resolution: str | None = flag("size to train at, such as 512 or 512,768")
    train_batch_size: int = flag("pictures per batch, unless dataset.toml sets it", default=1, parse=count)
    dataset_repeats: int | None = flag("repeats of each picture, unless dataset.toml sets it", parse=count)
    enable_bucket: bool = switch("train each picture at a size that fits its aspect ratio")
    bucket_no_upscale: bool = switch("never enlarge a picture: a small one gets a bucket of its own size")
    bucket_reso_steps: int = flag("pixels between bucket sizes", default=64, parse=count)
    min_bucket_reso: int = flag("smallest side of a bucket", default=256, parse=count)
    max_bucket_reso: int = flag("largest side of a bucket", default=1024, parse=count)
    resize_interpolation: str | None = flag("how pictures are resized", choices=INTERPOLATIONS)
    flip_aug: bool = switch("also train mirrored pictures")
    alpha_mask: bool = switch("leave transparent parts of pictures out of the loss")
    caption_extension: str = flag("ending of caption files, unless dataset.toml sets it", default=".caption")
    caption_extention: str | None = flag("older spelling of --caption_extension")
    caption_separator: str = flag("separator between tags", default=",")
    caption_prefix: str | None = flag("text before each caption")
    caption_suffix: str | None = flag("text after each caption")
    shuffle_caption: bool = switch("shuffle the tags each time")
    keep_tokens: int = flag("number of tags at the front that stay in place", default=0, parse=natural)
    keep_tokens_separator: str = flag("marker in captions between tags that stay in place and the others", default="")
    secondary_separator: str | None = flag("separator within groups of tags that stay together")
    enable_wildcard: bool = switch("use one of the caption's lines, and one of each {a|b|c}, at random")
    caption_dropout_rate: float = flag("share of the captions that are dropped", default=0.0, parse=rate)
    caption_dropout_every_n_epochs: int = flag("drop all captions in every Nth epoch", default=0, parse=natural)
    caption_tag_dropout_rate: float = flag("share of the tags that are dropped", default=0.0, parse=rate)
    token_warmup_min: int = flag("number of tags to start with", default=1, parse=natural)
    token_warmup_step: float = flag(
        "steps until all tags are used; below 1: a share of all steps", default=0.0, parse=not_negative
    )
    cache_info: bool = switch("accepted; reading sizes and captions is fast anyway")
    cache_latents: bool = switch("encode every picture once (always done)")
    cache_latents_to_disk: bool = switch("cache encoded pictures on disk, beside the pictures")
    vae_batch_size: int = flag("accepted; pictures are encoded one by one", default=1, parse=count)
    cache_text_encoder_outputs: bool = switch("encode every caption once (always done, unless captions change)")
    cache_text_encoder_outputs_to_disk: bool = switch("cache encoded captions on disk, beside the pictures")
    text_encoder_batch_size: int | None = flag("accepted; captions are encoded one by one", parse=count)
    skip_cache_check: bool = switch("accepted; caches are always checked, which is cheap here")
    max_data_loader_n_workers: int = flag("threads that prepare batches, at least one", default=8, parse=natural)
    persistent_data_loader_workers: bool = switch("accepted; the threads live as long as the training")

    group("Output")
    output_dir: Path = flag("folder for all output", required=True, parse=Path)
    output_name: str | None = flag("base name of files and folders")
    save_precision: str | None = flag("number type of the LoRA", parse=str, choices=("float", "fp16", "bf16"))
    save_model_as: str = flag("file format of the LoRA", default="safetensors", parse=only("safetensors"))
    save_every_n_epochs: int | None = flag("epochs between saves", parse=count)
    save_every_n_steps: int | None = flag("steps between saves", parse=count)
    save_last_n_epochs: int | None = flag("keep the LoRAs of the last N epochs", parse=count)
    save_last_n_epochs_state: int | None = flag("keep the states of the last N epochs", parse=count)
    save_last_n_steps: int | None = flag("keep the LoRAs of the last N steps", parse=count)
    save_last_n_steps_state: int | None = flag("keep the states of the last N steps", parse=count)
    save_state: bool = switch("save a state with each LoRA")
    save_state_on_train_end: bool = switch("save a state at the end")
    training_comment: str | None = flag("text for the LoRA's metadata")
    config_file: Path | None = flag("TOML file with flags; the command line overrides it", parse=Path)
    logging_dir: Path | None = flag("folder for TensorBoard's events, with a subfolder for each run", parse=Path)
    log_prefix: str | None = flag("prefix of that subfolder's name")
    log_tracker_name: str = flag("name of the folder inside that subfolder", default="network_train")
    log_with: str = flag("program to log for", default="tensorboard", parse=only("tensorboard"))
    console_log_simple: bool = switch("accepted; the log is plain lines")

    group("Resume")
    resume: Path | None = flag("state folder to continue from", parse=Path)
    initial_epoch: int | None = flag("epoch to start with; with --resume the state's counter decides", parse=count)
    replan: bool = switch("continue from a state whose settings differ from this run's or cannot be used here")

    group("Network")
    network_module: str = flag("kind of network", required=True, parse=exactly("networks.lora_flux"))
    network_dim: int = flag("rank of the LoRA", default=4, parse=count)
    network_alpha: float = flag(
        "alpha of the LoRA; its scale is alpha/rank, or 1 if alpha is 0", default=1.0, parse=not_negative
    )
    network_args: list[tuple[str, str]] | None = flag(
        "name=value ...: ranks by part, blocks, dropouts, LoRA+", parse=network_arg, many=True
    )
    network_dropout: float | None = flag("chance that a value between down and up is dropped", parse=chance)
    network_weights: Path | None = flag("LoRA to start from, a safetensors file", parse=Path)
    dim_from_weights: bool = switch("take layers, ranks and alphas from --network_weights")
    ema_decay: float | None = flag("also keep a moving average, with this decay per step", parse=chance)
    scale_weight_norms: float | None = flag("limit of the norm of alpha/rank up down, at each step", parse=positive)
    network_train_unet_only: bool = switch("do not train CLIP-L")

    group("Optimizer and schedule")
    optimizer_type: str = flag("optimizer: a name, a class of torch.optim, or the path of a class", default="adamw")
    optimizer_args: list[tuple[str, Any]] | None = flag("name=value ...", parse=argument, many=True)
    learning_rate: float = flag("learning rate", default=2e-6, parse=not_negative)
    unet_lr: float | None = flag("learning rate of the transformer's LoRA", parse=not_negative)
    text_encoder_lr: list[float] | None = flag(
        "learning rate of CLIP-L's LoRA; a second one, for T5, is ignored", parse=not_negative, many=True
    )
    lr_scheduler: str = flag("learning rate schedule", default="constant", choices=LR_SCHEDULERS)
    lr_scheduler_type: str | None = flag(
        "instead of --lr_scheduler: a class of torch.optim.lr_scheduler, or the path of a class"
    )
    lr_scheduler_args: list[tuple[str, Any]] | None = flag("name=value ...", parse=argument, many=True)
    lr_warmup_steps: int | float = flag("steps (or share of all) over which the rate rises", default=0, parse=steps)
    lr_decay_steps: int | float = flag("steps (or share) of decay, for warmup_stable_decay", default=0, parse=steps)
    lr_scheduler_num_cycles: int = flag("number of restarts, for cosine_with_restarts", default=1, parse=count)
    lr_scheduler_power: float = flag("power, for polynomial", default=1.0, parse=positive)
    lr_scheduler_timescale: int | None = flag("steps, for inverse_sqrt (default: the warm-up's steps)", parse=count)
    lr_scheduler_min_lr_ratio: float | None = flag(
        "lowest rate, as a share, for cosine_with_min_lr and warmup_stable_decay", parse=not_negative
    )
    max_grad_norm: float = flag("limit of the gradient's norm; 0: no limit", default=1.0, parse=not_negative)
    max_train_steps: int = flag("steps to train", default=1600, parse=count)
    max_train_epochs: int | None = flag("epochs to train; overrides --max_train_steps", parse=count)
    gradient_accumulation_steps: int = flag("batches per step", default=1, parse=count)

    group("Memory and speed")
    fp8_base: bool = switch("keep the transformer's matrices in 8 bits, with scales")
    fp8_base_unet: bool = switch("the same as --fp8_base")
    gradient_checkpointing: bool = switch("use less memory, at the cost of speed")
    cpu_offload_checkpointing: bool = switch("keep the inputs of checkpointed blocks in the host's memory")
    blocks_to_swap: int | None = flag(
        "keep half this many double blocks, and this many single blocks, off the GPU", parse=natural
    )
    split_mode: bool = switch("the same as --blocks_to_swap 18, or the most that the model allows")
    mixed_precision: str = flag("number type of the frozen models", default="no", parse=only("no", "bf16"))
    seed: int | None = flag("seed of every random choice (default: a random seed)", parse=seed_number)
    deterministic: bool = switch("the same bits each time, also on a GPU, at some cost in speed")
    attention: str = flag("attention kernel; sdpa: PyTorch chooses", default="auto", choices=ATTENTION)
    sdpa: bool = switch("accepted; attention is always PyTorch's")
    xformers: bool = switch("accepted; attention is always PyTorch's")
    mem_eff_attn: bool = switch("accepted; attention is always PyTorch's")
    compile: bool = switch("compile the blocks, even where this is not the default")
    no_compile: bool = switch("never compile the blocks")
    compile_backend: str = flag("compiler", default="inductor", parse=only(*COMPILE_BACKENDS))
    compile_mode: str = flag("how much inductor tries", default="default", choices=COMPILE_MODES)
    compile_dynamic: str = flag(
        "true: one graph for batches of all sizes", default="false", choices=("true", "false", "auto")
    )
    compile_fullgraph: bool = switch("accepted; a block is always one graph")
    compile_cache_size_limit: int | None = flag("largest number of graphs for one kind of block", parse=count)
    torch_compile: bool = switch("the same as --compile")
    dynamo_backend: str = flag("compiler of --torch_compile", default="inductor", parse=only(*COMPILE_BACKENDS))
    vram: str = flag(
        "GB of GPU memory to use, or auto: what is free; settles what other flags leave open",
        default="auto",
        choices=VRAM,
    )
    highvram: bool = switch("accepted; weights stay on the GPU if it has room for them")
    lowram: bool = switch("accepted; models are always read tensor by tensor")
    no_half_vae: bool = switch("accepted; the autoencoder always computes in fp32")

    group("Flow matching")
    guidance_scale: float = flag("guidance given to the model in training", default=3.5, parse=not_negative)
    timestep_sampling: str = flag(
        "how noise levels are drawn",
        default="sigma",
        choices=("sigma", "uniform", "sigmoid", "shift", "flux_shift"),
    )
    sigmoid_scale: float = flag("scale before the sigmoid", default=1.0, parse=positive)
    discrete_flow_shift: float = flag("shift of `shift` and `sigma`", default=3.0, parse=positive)
    model_prediction_type: str = flag(
        "what the model's output means", default="sigma_scaled", choices=("raw", "additive", "sigma_scaled")
    )
    weighting_scheme: str = flag(
        "how `sigma` draws noise levels, and how `sigma_scaled` weights the loss",
        default="uniform",
        choices=("sigma_sqrt", "logit_normal", "mode", "cosmap", "none", "uniform"),
    )
    logit_mean: float = flag("mean, for logit_normal", default=0.0, parse=number)
    logit_std: float = flag("standard deviation, for logit_normal", default=1.0, parse=positive)
    mode_scale: float = flag("scale, for mode", default=1.29, parse=number)
    loss_type: str = flag("loss", default="l2", choices=("l1", "l2", "huber", "smooth_l1"))
    huber_schedule: str = flag(
        "how the threshold of huber and smooth_l1 changes with the noise",
        default="snr",
        choices=("constant", "exponential", "snr"),
    )
    huber_c: float = flag("threshold, as a share of --huber_scale", default=0.1, parse=positive)
    huber_scale: float = flag("scale of the threshold", default=1.0, parse=positive)
    masked_loss: bool = switch("accepted; a dataset's masks always count")
    prior_loss_weight: float = flag("weight of regularisation pictures", default=1.0, parse=not_negative)
    min_snr_gamma: float | None = flag("no effect on Flux, and a warning says so", parse=number)

    group("Validation")
    validation_split: float = flag(
        "share of each folder to use for validation instead of training", default=0.0, parse=chance
    )
    validation_seed: int | None = flag("seed of the split and its noise (default: 0)", parse=seed_number)
    validate_every_n_steps: int | None = flag("steps between validations", parse=count)
    validate_every_n_epochs: int | None = flag("epochs between validations (default: 1)", parse=count)
    max_validation_steps: int | None = flag("batches per validation (default: all)", parse=count)

    group("Samples")
    sample_prompts: Path | None = flag("prompt file (.txt, .toml or .json)", parse=Path)
    sample_every_n_epochs: int | None = flag("epochs between samples; overrides --sample_every_n_steps", parse=count)
    sample_every_n_steps: int | None = flag("steps between samples", parse=count)
    sample_at_first: bool = switch("also sample before the first step")

    group("Instead of a training")
    check_job: bool = switch("print all problems and warnings of the job as JSON, and exit")
    plan: bool = switch("the same, with what will happen to each picture, and the memory")

    group("Debugging")
    debug_hang: HangPoint | None = flag("hang on purpose, as KIND@PLACE[:N]", parse=hang_point)
    debug_hang_once: Path | None = flag("do not hang if this file exists; create it before hanging", parse=Path)

    # Not a flag: the names of the flags that the command line or --config_file gives.
    named: frozenset[str] = dataclasses.field(default=frozenset(), compare=False)

    @property
    def trains_clip(self) -> bool:
        """Whether CLIP-L is trained: it is unless --network_train_unet_only is given, as in sd-scripts."""
        return not self.network_train_unet_only

    @property
    def clip_lr(self) -> float | None:
        """The learning rate of CLIP-L's LoRA; None stands for --learning_rate."""
        return self.text_encoder_lr[0] if self.text_encoder_lr else None

    @property
    def network(self) -> network_settings.NetworkSettings:
        return network_settings.read(self.network_args or [])
