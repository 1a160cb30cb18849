# SPDX-License-Identifier: Apache-2.0
"""A settings file of ostris/ai-toolkit (YAML) as settings of a job."""

from collections.abc import Mapping
from typing import Any

from fluxgym.names import propose
from fluxgym.protocol.messages import TriggerPlace
from fluxgymd.exchange import folders, sd_scripts
from fluxgymd.exchange.carried import Carried, asks_nothing, caption_ending, refuse
from fluxgymd.exchange.folders import Folder
from fluxgymd.trainers.dataset_toml import OFF

PRECISIONS = {
    "float16": "fp16",
    "fp16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "float32": "float",
    "fp32": "float",
}
TIMESTEPS = {"sigmoid": "sigmoid", "linear": "uniform", "shift": "flux_shift", "flux_shift": "flux_shift"}
"""ai-toolkit's timestep_type -> sd-scripts' timestep_sampling."""
OF_FOLDERS = ("folder_path", "num_repeats", "is_reg")
"""Keys that each folder has for itself, as a part of a job."""
LOCAL = (".safetensors", ".sft")

Table = Mapping[str, Any]

IGNORED = {
    "process": {"type", "device", "performance_log_every", "trigger_word", "network", "save", "datasets", "train"}
    | {"model", "sample", "sqlite_db_path"},
    "save": {"save_every", "dtype", "push_to_hub", "save_format"},
    "network": {"type", "linear", "linear_alpha", "network_kwargs"},
    "datasets": {"folder_path", "caption_ext", "cache_latents_to_disk", "cache_latents", "resolution", "num_repeats"}
    | {"shuffle_tokens", "caption_dropout_rate", "flip_x", "is_reg", "network_weight"},
    "train": {"steps", "batch_size", "gradient_accumulation_steps", "gradient_accumulation", "train_unet", "lr"}
    | {"train_text_encoder", "gradient_checkpointing", "noise_scheduler", "optimizer", "optimizer_params", "dtype"}
    | {"ema_config", "timestep_type", "lr_scheduler", "skip_first_sample", "disable_sampling", "max_grad_norm"},
    "model": {"name_or_path", "is_flux", "arch", "quantize", "low_vram", "quantize_te", "qtype", "qtype_te"},
    "sample": {
        "sampler",
        "sample_every",
        "sample_start_step",
        "width",
        "height",
        "prompts",
        "neg",
        "seed",
        "walk_seed",
    }
    | {"guidance_scale", "sample_steps", "num_frames", "fps"},
}
"""By table: the keys that are read here, and those without a meaning for a FLUX.1 LoRA on one machine."""


def convert(document: Table, carried: Carried) -> None:
    config = _table(document, "config")
    processes = config.get("process")
    process = processes[0] if isinstance(processes, list) and processes and isinstance(processes[0], dict) else {}
    if config.get("name"):
        carried.fields["name"] = propose(str(config["name"]))
    tables = {name: _table(process, name) for name in ("network", "save", "train", "model", "sample")}
    datasets = sd_scripts.tables(process.get("datasets"))
    _model(tables["model"], carried)
    _network(tables["network"], carried)
    _dataset(datasets[0] if datasets else {}, carried)
    _folders(datasets, carried)
    trigger = process.get("trigger_word")
    if not asks_nothing(trigger):
        carried.fields["trigger_word"] = str(trigger)
        carried.fields["trigger_place"] = TriggerPlace.FIRST
    _train(tables["train"], carried)
    _save(tables["save"], carried)
    if not tables["train"].get("disable_sampling"):
        _samples(tables["sample"], trigger, carried, first=not tables["train"].get("skip_first_sample"))
    for name, table in {"process": process, "datasets": datasets[0] if datasets else {}, **tables}.items():
        for key, value in table.items():
            if key not in IGNORED[name]:
                carried.leave(f"{name}.{key}", value, "FluxGym has no such setting")


def _model(model: Table, carried: Carried) -> None:
    arch = str(model.get("arch") or ("flux" if model.get("is_flux") else "another model"))
    if arch != "flux":
        raise refuse(f"The file is for {arch}; FluxGym trains FLUX.1 only (model.is_flux: true, or arch: flux).")
    name = model.get("name_or_path")
    if isinstance(name, str) and name.endswith(LOCAL):
        carried.model("transformer", "model.name_or_path", name)
    else:
        carried.leave("model.name_or_path", name, "a job needs the model as a file; give --transformer")
    if model.get("quantize"):
        carried.options["fp8_base"] = []


def _network(network: Table, carried: Carried) -> None:
    kind = network.get("type", "lora")
    if kind != "lora":
        carried.leave("network.type", kind, "FluxGym trains LoRAs only")
    if "linear" in network:
        carried.whole("network_dim", "network.linear", network["linear"])
    if "linear_alpha" in network:
        carried.flag("network_alpha", network["linear_alpha"])
    carried.leave("network.network_kwargs", network.get("network_kwargs"), "use trainer_options.network_args")


def _dataset(dataset: Table, carried: Carried) -> None:
    carried.fields["repeats"] = 1
    carried.fields["enable_bucket"] = True
    caption_ending(carried, str(dataset.get("caption_ext") or "txt"))
    _sizes(dataset.get("resolution"), carried)
    carried.flag("shuffle_caption", bool(dataset.get("shuffle_tokens")))
    carried.flag("caption_dropout_rate", dataset.get("caption_dropout_rate"))
    carried.flag("flip_aug", bool(dataset.get("flip_x")))


def _folders(datasets: list[dict[str, Any]], carried: Carried) -> None:
    named = [dataset for dataset in datasets if dataset.get("folder_path")]
    if not named:
        return
    found = [
        Folder(
            key="datasets.folder_path",
            path=dataset["folder_path"],
            repeats=dataset.get("num_repeats", 1),
            regularisation=dataset.get("is_reg") is True,
        )
        for dataset in named
    ]
    folders.carry(found, carried)
    first, *others = [{key: value for key, value in each.items() if key not in OF_FOLDERS} for each in named]
    for dataset, other in zip(named[1:], others, strict=True):
        folders.note_differences(first, other, dataset["folder_path"], carried)


def _sizes(value: object, carried: Carried) -> None:
    sizes = sorted(size for size in (value if isinstance(value, list) else [value]) if isinstance(size, int))
    if len(sizes) > 1:
        carried.fields["resolutions"] = sizes
    elif sizes:
        carried.fields["resolution"] = sizes[0]


def _train(train: Table, carried: Carried) -> None:
    carried.flag("learning_rate", train.get("lr"))
    carried.flag("optimizer_type", train.get("optimizer"))
    parameters = _table(train, "optimizer_params")
    if parameters:
        carried.flag("optimizer_args", [f"{key}={_literal(value)}" for key, value in parameters.items()])
    carried.flag("lr_scheduler", train.get("lr_scheduler"))
    carried.flag("max_grad_norm", train.get("max_grad_norm"))
    carried.flag("train_batch_size", _above_one(train.get("batch_size")))
    accumulated = train.get("gradient_accumulation_steps") or train.get("gradient_accumulation")
    carried.flag("gradient_accumulation_steps", _above_one(accumulated))
    carried.flag("gradient_checkpointing", bool(train.get("gradient_checkpointing", True)))
    carried.flag("network_train_unet_only", not train.get("train_text_encoder"))
    if train.get("train_unet") is False:
        carried.leave("train.train_unet", "false", "the transformer is always trained")
    ema = _table(train, "ema_config")
    if ema.get("use_ema"):
        carried.flag("ema_decay", ema.get("ema_decay", 0.99))
    if str(train.get("dtype", "bf16")) not in ("bf16", "bfloat16"):
        carried.leave("train.dtype", train["dtype"], "FluxGym computes in bf16")
    _timesteps(train.get("timestep_type"), carried)
    if train.get("steps"):
        sd_scripts.length(train["steps"], "train.steps", carried)


def _literal(value: object) -> str:
    """A value of an optimizer's argument. PyYAML reads 1e-4, without a point, as a text."""
    try:
        return repr(float(value)) if isinstance(value, str) else repr(value)
    except ValueError:
        return repr(value)


def _above_one(value: object) -> object:
    return None if value == 1 else value


def _timesteps(kind: object, carried: Carried) -> None:
    if kind is None:
        kind = "sigmoid"
        carried.notes.append(
            "train.timestep_type is not given, so ai-toolkit's own default, sigmoid, is carried over."
        )
    if str(kind) in TIMESTEPS:
        carried.flag("timestep_sampling", TIMESTEPS[str(kind)])
        carried.options["discrete_flow_shift"] = OFF
    else:
        carried.leave("train.timestep_type", kind, f"FluxGym has {', '.join(TIMESTEPS)} of these")


def _save(save: Table, carried: Carried) -> None:
    precision = PRECISIONS.get(str(save.get("dtype")))
    if precision is not None:
        carried.flag("save_precision", precision)
    else:
        carried.leave(
            "save.dtype", save.get("dtype"), f"the trainer saves in {', '.join(sorted(set(PRECISIONS.values())))}"
        )
    every = save.get("save_every")
    if isinstance(every, int) and every > 0:
        epochs = carried.epochs_of(every)
        if epochs is None:
            carried.leave("save.save_every", every, "a job saves after epochs; give --save-every-epochs")
        else:
            carried.fields["save_every_epochs"] = epochs


def _samples(sample: Table, trigger: object, carried: Carried, *, first: bool) -> None:
    """Each prompt gets sd-scripts' flags for its size, steps, guidance and seed."""
    prompts = sample.get("prompts")
    if not isinstance(prompts, list) or not prompts:
        return
    letters = {"w": "width", "h": "height", "s": "sample_steps", "g": "guidance_scale"}
    flags = "".join(f" --{letter} {sample[key]}" for letter, key in letters.items() if key in sample)
    made = []
    for number, prompt in enumerate(prompts):
        text = " ".join(str(prompt).replace("[trigger]", str(trigger or "")).split())
        seed = sample.get("seed")
        if isinstance(seed, int):
            text += f" --d {seed + number if sample.get('walk_seed') else seed}"
        made.append(text + flags)
    carried.fields["sample_prompts"] = made
    carried.leave("sample.neg", sample.get("neg"), "FLUX.1 uses no negative prompt")
    if sample.get("sample_every"):
        carried.whole("sample_every_steps", "sample.sample_every", sample["sample_every"])
    if first:
        carried.flag("sample_at_first", True)


def _table(table: Table, name: str) -> dict[str, Any]:
    value = table.get(name)
    return value if isinstance(value, dict) else {}
