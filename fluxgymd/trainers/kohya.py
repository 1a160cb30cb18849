# SPDX-License-Identifier: Apache-2.0
"""sd-scripts' command line and files, from a job's settings: for our trainer and for kohya-ss/sd-scripts alike.

What the user gives under `trainer_options` stands over what we would pass; what the daemon needs to find the job's
files again cannot be given.
"""

from pathlib import Path
from typing import Any

import tomli_w

from fluxgym.errors import InvalidSetting
from fluxgym.messages import Context, Model
from fluxgymd.core.resume import Trainer, epoch_in_name
from fluxgymd.store.home import JobFolder

SCRIPT = "flux_train_network.py"

KEEP_STATES = 3
"""Of jobs that were submitted before it was a setting."""

OFF = ["false"]
"""The words that take a switch back which would be passed by default."""

# Option -> where the user says it instead.
OURS = {
    "output_dir": "the name of the job",
    "output_name": "the name of the job",
    "dataset_config": "dataset, resolution, repeats and trigger_word",
    "resume": "`fluxgymctl resume`",
    "initial_epoch": "`fluxgymctl resume`",
    "initial_step": "`fluxgymctl resume`",
    "config_file": "trainer_options",
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
    "check_command_line": "`fluxgymctl submit`, which asks for it",
    "help": "docs/trainer.md, which has all flags",
}


def check_options(options: dict[str, list[str]]) -> None:
    """Refuses options that the daemon sets itself, and words that no command line could carry."""
    for name, words in options.items():
        if name in OURS:
            raise InvalidSetting(f"trainer_options.{name} cannot be given; use {OURS[name]}.", setting=name)
        if not name.replace("_", "").isalnum():
            bare = name.lstrip("-")
            instead = f"; write {bare}, without the dashes" if bare != name and bare else ""
            raise InvalidSetting(f"trainer_options.{name} is not the name of a flag{instead}.", setting=name)
        if any("\0" in word for word in words):
            raise InvalidSetting(f"trainer_options.{name} holds a NUL character.", setting=name)
        flags = [word for word in words if word.startswith("--")]
        if flags:  # the trainer would take it for a flag, one of ours too
            raise InvalidSetting(
                f"trainer_options.{name} holds {flags[0]!r}; give each flag as an option of its own.", setting=name
            )


def starter(python: Path, *, gpus: int) -> list[str]:
    """What stands before the script. On several GPUs it is accelerate's launcher, with a process for each, told all
    that the user's configuration of it could decide; on one there is none, since it hides exit statuses (trainers.md
    1.9)."""
    if gpus < 2:
        return [str(python)]
    return [
        *(str(python), "-m", "accelerate.commands.launch"),
        *("--multi_gpu", "--num_processes", str(gpus), "--num_machines", "1", "--main_process_port", "0"),
        *("--num_cpu_threads_per_process", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    ]


def arguments(context: Context, folder: JobFolder, resume: str | None, *, trainer: Trainer) -> list[str]:
    """The trainer's command line after the script's name. `resume`: a state's folder, relative to the job's."""
    options = _options(context, folder)
    if trainer is Trainer.OURS:
        # Ours chooses by the GPU's memory how many blocks it checkpoints (docs/trainer.md, Memory).
        del options["gradient_checkpointing"]
    if resume is not None:
        options["resume"] = [str(folder.path / resume)]
        epoch = epoch_in_name(resume)
        if epoch is not None:
            # sd-scripts' own counter is wrong after a first resume (trainers.md 1.5). For ours it says the same.
            options["initial_epoch"] = [str(epoch + 1)]
    options |= context.trainer_options or {}
    argv = []
    for name, words in options.items():
        if len(words) == 1 and words[0].startswith("-"):
            argv.append(f"--{name}={words[0]}")  # on its own it would be taken for a flag
        elif words != OFF:
            argv += [f"--{name}", *words]
    return argv


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
    """How many complete states stay; never none."""
    return max(1, context.keep_states or KEEP_STATES)


def trainer_at(path: Path) -> Trainer:
    """Which trainer lies in a folder: sd-scripts' script is a subclass of what train_network.py beside it holds, and
    cannot be run without it; ours has no such file."""
    return Trainer.SD_SCRIPTS if (path / "train_network.py").is_file() else Trainer.OURS


def is_understood(path: Path) -> bool:
    """Whether the trainer in a folder is one whose progress is understood: sd-scripts by what it prints, ours by its
    metrics.py. Blocks on the disk."""
    return (path / "train_network.py").is_file() or (path / "library" / "metrics.py").is_file()


def steps_per_epoch(context: Context, pictures: int) -> int:
    """Steps of one epoch of the dataset that `dataset_config` writes, whose batches are of one picture."""
    accumulated = (context.trainer_options or {}).get("gradient_accumulation_steps", ["1"])
    each = int(accumulated[0]) if len(accumulated) == 1 and accumulated[0].isdecimal() else 1
    return -(-pictures * (context.repeats or 1) // (max(1, each) * (context.gpu_count or 1)))


def dataset_config(context: Context, dataset: Path) -> bytes:
    """dataset.toml (trainers.md 1.3), written by a library: a quote in a trigger word stays a quote."""
    subset: dict[str, Any] = {"image_dir": str(dataset), "num_repeats": context.repeats}
    if context.trigger_word:
        subset["class_tokens"] = context.trigger_word
    document = {
        "general": {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1},
        "datasets": [{"resolution": context.resolution, "batch_size": 1, "keep_tokens": 1, "subsets": [subset]}],
    }
    return tomli_w.dumps(document).encode()


def sample_prompts(context: Context) -> bytes:
    """sample_prompts.txt: one prompt a line (trainers.md 1.8)."""
    return "".join(f"{prompt}\n" for prompt in context.sample_prompts or []).encode()
