# SPDX-License-Identifier: Apache-2.0
"""sd-scripts' command line and files, made from a job's settings, for our trainer and for kohya-ss/sd-scripts alike.

The user's `trainer_options` override what the daemon would pass. Flags that the daemon needs in order to find the
job's files cannot be given there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fluxgym.protocol.messages import Context, Model
from fluxgym.quoting import short
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.dataset_toml import BUCKETS, OFF
from fluxgymd.trainers.port import Problem, ProblemKind
from fluxgymd.trainers.states import StateWriter, epoch_in_name

SCRIPT = "flux_train_network.py"

KEEP_STATES = 3
"""The default, and what applies to jobs that were submitted before keep_states was a setting."""

SETTINGS = {
    "dataset_config": "dataset",
    "pretrained_model_name_or_path": "model.transformer",
    "clip_l": "model.clip_l",
    "t5xxl": "model.t5xxl",
    "ae": "model.autoencoder",
    "tokenizer_cache_dir": "model.tokenizers",
    "max_train_epochs": "epochs",
    "save_every_n_epochs": "save_every_epochs",
    "save_state": "save_every_epochs",
    "sample_prompts": "sample_prompts",
    "sample_every_n_steps": "sample_every_steps",
    "sample_every_n_epochs": "sample_every_epochs",
    "seed": "seed",
    "learning_rate": "learning_rate",
    "network_dim": "network_dim",
}
"""Flag -> the job's setting that determines its value."""

OURS = SETTINGS | {
    "output_dir": "the name of the job",
    "output_name": "the name of the job",
    "dataset_config": "dataset, resolution, repeats and trigger_word",
    "resume": "`fluxgymctl resume`",
    "initial_epoch": "`fluxgymctl resume`",
    "initial_step": "`fluxgymctl resume`",
    "config_file": "trainer_options",
    "check_job": "`fluxgymctl submit`, which asks for it",
    "plan": "`fluxgymctl submit --plan`",
    "help": "docs/trainer.md, which has all flags",
}
"""Flag that cannot be an option of a job -> what the user uses instead."""

REPLACED = {
    "resolution": "resolution",
    "dataset_repeats": "repeats",
    "train_data_dir": "dataset",
    "reg_data_dir": "parts",
    "in_json": "dataset",
    "max_train_steps": "epochs",
}
"""Flag that would have no effect on a job -> the setting to use instead. Jobs of earlier versions may have one."""
ENABLE_BUCKET = "enable_bucket"
"""The flag of the setting with the same name. It takes effect on a job that lacks the setting."""


def ineffective(context: Context) -> list[tuple[str, str]]:
    """The options that would have no effect, each with a sentence that names the setting to use instead."""
    options = context.trainer_options or {}
    replaced = {name: REPLACED[name] for name, words in options.items() if name in REPLACED and words != OFF}
    if ENABLE_BUCKET in options and context.enable_bucket is not None:  # false would not turn it off, either
        replaced[ENABLE_BUCKET] = ENABLE_BUCKET
    found = [
        (name, f"trainer_options.{name} would have no effect; use {setting} instead.")
        for name, setting in replaced.items()
    ]
    if context.enable_bucket is False:
        found += [
            (name, f"trainer_options.{name} has no effect without enable_bucket; turn that on, or leave this out.")
            for name, words in options.items()
            if name in BUCKETS and words != OFF
        ]
    return found


TEXT_CACHING = ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")
"""Flags that are passed by default, unless a job turns them off."""
CHANGE_CAPTIONS = ("caption_dropout_rate", "shuffle_caption", "token_warmup_step", "caption_tag_dropout_rate")
"""Flags with which sd-scripts does not start if captions are encoded only once."""

LEFT_OUT_OF_CACHES = (
    *("caption_prefix", "caption_suffix", "secondary_separator", "enable_wildcard"),
    "caption_dropout_every_n_epochs",
)
"""Flags that sd-scripts applies to captions only when it encodes them at each step."""


def uncacheable(options: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Options with which sd-scripts would exit soon after its start, with a message about a flag that the job never
    gave, or that it would ignore."""
    caching = [name for name in TEXT_CACHING if options.get(name, ()) != OFF]
    off = " and ".join(f"trainer_options.{name} = false" for name in caching)
    reasons = dict.fromkeys(CHANGE_CAPTIONS, "changes captions at each step, so they can't be encoded once")
    reasons |= dict.fromkeys(LEFT_OUT_OF_CACHES, "has no effect on captions that sd-scripts encodes only once")
    given = {name: why for name, why in reasons.items() if options.get(name, OFF) not in (OFF, ["0"], ["0.0"])}
    return [
        Problem(
            kind=ProblemKind.COMMAND_LINE,
            setting=name,
            sentence=f"trainer_options.{name} {why}; also set {off}.",
        )
        for name, why in given.items()
        if caching
    ]


def instead(flag: str) -> str | None:
    """What the user gives instead of a flag that cannot be an option of a job; None if it can be one."""
    return OURS.get(flag) or REPLACED.get(flag) or (flag if flag == ENABLE_BUCKET else None)


def as_setting(flag: str) -> str:
    """The user's name for a flag of the trainer: a setting, or an option."""
    return SETTINGS.get(flag, f"trainer_options.{flag}")


def refused_options(options: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Problems for options that the daemon sets itself, and for words that cannot be on a command line."""
    found = [(name, _refusal(name, words)) for name, words in options.items()]
    return [
        Problem(
            kind=ProblemKind.COMMAND_LINE, setting=short(name), sentence=f"trainer_options.{short(name)} {refusal}."
        )
        for name, refusal in found
        if refusal is not None
    ]


def _refusal(name: str, words: Sequence[str]) -> str | None:
    if name in OURS:
        return f"cannot be given; use {OURS[name]}"
    if not name.replace("_", "").isalnum():
        bare = name.lstrip("-")
        instead = f"; write {short(bare)}, without the dashes" if bare != name and bare else ""
        return f"is not a valid flag name{instead}"
    if any("\0" in word for word in words):
        return "contains a NUL character"
    flags = [word for word in words if word.startswith("--")]
    if flags:  # the trainer would read it as a flag, perhaps one that the daemon sets
        return f"contains {short(flags[0])!r}; give each flag as an option of its own"
    return None


def without_options(context: Context, *names: str) -> Context:
    options = {name: words for name, words in (context.trainer_options or {}).items() if name not in names}
    return msgspec.structs.replace(context, trainer_options=options)


def starter(python: Path, *, gpus: int) -> list[str]:
    """The words before the script. On several GPUs they run accelerate's launcher with one process per GPU, and set
    everything that the user's accelerate configuration could decide. On one GPU there is no launcher, since it
    replaces the trainer's exit status with 1."""
    if not needs_launcher(gpus):
        return [str(python)]
    return [
        *(str(python), "-m", "accelerate.commands.launch"),
        *("--multi_gpu", "--num_processes", str(gpus), "--num_machines", "1", "--main_process_port", "0"),
        *("--num_cpu_threads_per_process", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    ]


def needs_launcher(gpus: int) -> bool:
    return gpus > 1


def arguments(context: Context, folder: JobFolder, resume: str | None, *, trainer: StateWriter) -> list[str]:
    """The trainer's command line after the script's name. `resume`: a state's folder, relative to the job's."""
    options = passed(context, folder, trainer=trainer)
    if resume is not None:
        options["resume"] = [str(folder.path / resume)]
        epoch = epoch_in_name(resume)
        if epoch is not None:
            # sd-scripts' own counter restarts at each resume. For our trainer the flag only repeats what it knows.
            options["initial_epoch"] = [str(epoch + 1)]
    options |= {name: words for name, words in (context.trainer_options or {}).items() if name not in REPLACED}
    argv = []
    for name, words in options.items():
        if len(words) == 1 and words[0].startswith("-"):
            argv.append(f"--{name}={words[0]}")  # as a separate word it would be taken for a flag
        elif words != OFF:
            argv += [f"--{name}", *words]
    return argv


def passed(context: Context, folder: JobFolder, *, trainer: StateWriter) -> dict[str, list[str]]:
    """The flags that the daemon passes by itself, with their words."""
    options = _options(context, folder)
    if trainer is StateWriter.OURS:
        # Our trainer chooses how many blocks it checkpoints by the GPU's memory (docs/trainer.md, Memory).
        del options["gradient_checkpointing"]
    return options


def _options(context: Context, folder: JobFolder) -> dict[str, list[str]]:
    model = context.model or Model()
    options: dict[str, list[str]] = {
        "pretrained_model_name_or_path": [str(model.transformer)],
        "clip_l": [str(model.clip_l)],
        "t5xxl": [str(model.t5xxl)],
        "ae": [str(model.autoencoder)],
        "dataset_config": [str(folder.dataset_config)],
        "output_dir": [str(folder.path)],
        "output_name": [folder.name],
        "save_model_as": ["safetensors"],
        "save_precision": ["bf16"],
        "mixed_precision": ["bf16"],
        "gradient_checkpointing": [],
        "sdpa": [],
        "cache_latents_to_disk": [],
        "cache_text_encoder_outputs": [],
        "cache_text_encoder_outputs_to_disk": [],
        "max_data_loader_n_workers": ["2"],
        "persistent_data_loader_workers": [],
        "network_module": ["networks.lora_flux"],
        "network_dim": [str(context.network_dim)],
        "optimizer_type": ["adamw"],
        "learning_rate": [repr(context.learning_rate)],
        "seed": [str(context.seed)],
        "timestep_sampling": ["shift"],
        "discrete_flow_shift": ["3.1582"],
        "model_prediction_type": ["raw"],
        "guidance_scale": ["1"],
        "loss_type": ["l2"],
        "max_train_epochs": [str(context.epochs)],
        "save_every_n_epochs": [str(context.save_every_epochs)],
        "save_state": [],
        "save_last_n_epochs_state": [str(kept_states(context))],
    }
    if model.tokenizers:
        options["tokenizer_cache_dir"] = [model.tokenizers]
    if context.sample_prompts:
        options["sample_prompts"] = [str(folder.sample_prompts)]
    if context.sample_every_steps:
        options["sample_every_n_steps"] = [str(context.sample_every_steps)]
    if context.sample_every_epochs:
        options["sample_every_n_epochs"] = [str(context.sample_every_epochs)]
    return options


def kept_states(context: Context) -> int:
    """How many complete states are kept: at least one."""
    return max(1, context.keep_states or KEEP_STATES)


def sample_prompts(context: Context) -> bytes:
    """sample_prompts.txt: one prompt per line."""
    return "".join(f"{prompt}\n" for prompt in context.sample_prompts or []).encode()
