# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint fits the job's settings: what the state tells of how it was made, against what is asked for.

A trainer given a state that does not fit fails after minutes of loading, or trains something else. What neither side
tells is not compared: a training is refused for a difference that was seen, never for one that is only possible.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fluxgym.messages import Context

Modules = Mapping[str, tuple[int, int]]
"""(in, out) of each Linear that has a LoRA part, by its key in sd-scripts' layout (trainers.md 1.6)."""

LORA_FLUX = "networks.lora_flux"
DOUBLE, SINGLE, CLIP, T5 = "lora_unet_double_blocks_", "lora_unet_single_blocks_", "lora_te1_", "lora_te3_"
BLOCKS = {"all": (DOUBLE, SINGLE), "double": (DOUBLE,), "single": (SINGLE,)}

# Key of a model's file -> key of its LoRA part.
_LINEARS = (
    (re.compile(r"(?:model\.diffusion_model\.)?((?:double|single)_blocks\.\d+\..*)\.weight"), "lora_unet_"),
    (re.compile(r"(?:text_model\.)?(encoder\.layers\.\d+\.(?:self_attn\.\w+_proj|mlp\.fc\d))\.weight"), CLIP),
)

# What names an optimizer among the keys of its state and groups; the first that is there wins. Several settings may
# share one form of state, such as Adam and AdamW.
_SIGNS = (
    ("an 8-bit Adam", frozenset({"state1", "state2"})),
    ("an 8-bit optimizer with one moment", frozenset({"state1"})),
    ("Adafactor", frozenset({"clip_threshold"})),
    ("Prodigy", frozenset({"d_coef", "d0"})),
    ("D-Adaptation", frozenset({"d0"})),
    ("AdamW", frozenset({"amsgrad"})),
    ("AdamW", frozenset({"exp_avg", "exp_avg_sq"})),
    ("SGD", frozenset({"nesterov"})),
    ("Lion", frozenset({"exp_avg", "betas"})),
)
_OPTIMIZERS = {
    **dict.fromkeys(("", "adam", "adamw", "torch.optim.adamw"), "AdamW"),
    **dict.fromkeys(("adamw8bit", "pagedadamw8bit"), "an 8-bit Adam"),
    **dict.fromkeys(("lion8bit", "pagedlion8bit", "sgdnesterov8bit"), "an 8-bit optimizer with one moment"),
    "adafactor": "Adafactor",
    "prodigy": "Prodigy",
    "sgdnesterov": "SGD",
    "lion": "Lion",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a state tells of its training."""

    step: int | None
    """Steps done since the very first run, where our trainer tells."""
    steps_per_epoch: int | None
    modules: Modules
    ranks: frozenset[int]
    alphas: frozenset[float]
    optimizer: str | None
    """One of the forms of state above."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the next attempt is to train. None: not known, or not told by the settings alone."""

    rank: int | None
    alpha: float | None
    blocks: str | None
    """all, double or single."""
    clip: bool | None
    optimizer: str | None
    steps_per_epoch: int | None
    total_steps: int | None
    models: Modules | None
    """Every Linear of the base model and CLIP-L that could have a LoRA part."""


def asked(context: Context, *, steps_per_epoch: int | None, models: Modules | None) -> Asked:
    """What a job's settings ask for. `context`: complete (trainers/settings.py)."""
    options = context.trainer_options or {}
    arguments = dict(word.partition("=")[::2] for word in options.get("network_args", []))
    plain = options.get("network_module", [LORA_FLUX]) == [LORA_FLUX]
    # Ranks by part (img_attn_dim, in_dims, network_reg_dims) are more than one number can tell.
    by_part = any(name.endswith(("_dim", "_dims")) for name in arguments) or "dim_from_weights" in options
    indexed = any(name.endswith("_indices") for name in arguments)
    te_only = "network_train_text_encoder_only" in options
    alpha = _number(options.get("network_alpha", ["1"]))
    total = steps_per_epoch * (context.epochs or 0) if steps_per_epoch is not None else None
    return Asked(
        rank=context.network_dim if plain and not by_part else None,
        alpha=(alpha or context.network_dim) if plain and not by_part and alpha is not None else None,
        blocks=arguments.get("train_blocks", "all") if plain and not indexed and not te_only else None,
        clip="network_train_unet_only" not in options if plain else None,
        optimizer=_optimizer_asked(options),
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        models=models if plain and "split_qkv" not in arguments else None,
    )


def _number(words: list[str]) -> float | None:
    try:
        return float(words[0])
    except (ValueError, IndexError):
        return None


def _optimizer_asked(options: Mapping[str, list[str]]) -> str | None:
    if "use_8bit_adam" in options:
        return "an 8-bit Adam"
    if "use_lion_optimizer" in options:
        return "Lion"
    words = options.get("optimizer_type", ["adamw"])
    return _OPTIMIZERS.get(words[0].lower()) if len(words) == 1 else None


def optimizer_form(keys: frozenset[str]) -> str | None:
    """Which optimizer wrote a state. `keys`: of a parameter's state and of a group together."""
    return next((name for name, signs in _SIGNS if signs <= keys), None)


def linears(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, int]]:
    """The Linears that networks.lora_flux adapts, from the keys and shapes of the models' files."""
    found = {}
    for key, shape in shapes:
        for pattern, prefix in _LINEARS:
            match = pattern.fullmatch(key)
            if match and len(shape) == 2:
                name = ("text_model." if prefix == CLIP else "") + match[1]
                found[prefix + name.replace(".", "_")] = (shape[1], shape[0])
    return found


def differences(made: Made, asked: Asked) -> list[str]:
    """Each thing that keeps the checkpoint from being used, a clause each: how it is there and how it is here."""
    found = []
    if asked.rank is not None and made.ranks and made.ranks != {asked.rank}:
        found.append(f"its rank is {_list(made.ranks)}, and {asked.rank} is asked for (network_dim)")
    if asked.alpha is not None and made.alphas and made.alphas != {asked.alpha}:
        found.append(f"its alpha is {_list(made.alphas)}, and {asked.alpha:g} is asked for (network_alpha)")
    if asked.optimizer and made.optimizer and made.optimizer != asked.optimizer:
        found.append(f"its optimizer is {made.optimizer}, and {asked.optimizer} is asked for (optimizer_type)")
    found += _blocks(made, asked)
    if asked.clip is not None and asked.clip is not _any(made, CLIP):
        how = "CLIP-L was trained" if _any(made, CLIP) else "CLIP-L was not trained"
        found.append(f"{how}, and {'is' if asked.clip else 'is not'} to be (network_train_unet_only)")
    found += _model(made, asked)
    if None not in (asked.steps_per_epoch, made.steps_per_epoch) and made.steps_per_epoch != asked.steps_per_epoch:
        found.append(
            f"an epoch of its dataset had {made.steps_per_epoch} steps, and has {asked.steps_per_epoch} now "
            "(dataset, repeats, gradient_accumulation_steps)"
        )
    elif asked.total_steps is not None and made.step is not None and made.step > asked.total_steps:
        found.append(f"it is at step {made.step}, and only {asked.total_steps} are asked for (epochs)")
    return found


def _any(made: Made, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in made.modules)


def _blocks(made: Made, asked: Asked) -> list[str]:
    trained = tuple(prefix for prefix in (DOUBLE, SINGLE) if _any(made, prefix))
    if asked.blocks not in BLOCKS or not trained or trained == BLOCKS[asked.blocks]:
        return []
    were = next(name for name, prefixes in BLOCKS.items() if prefixes == trained)
    return [f"its blocks are {were}, and {asked.blocks} are asked for (network_args train_blocks)"]


def _model(made: Made, asked: Asked) -> list[str]:
    if asked.models is None:
        return []
    files = (((DOUBLE, SINGLE), "model.transformer"), ((CLIP,), "model.clip_l"))
    found = []
    for prefixes, setting in files:
        there = {name: size for name, size in made.modules.items() if name.startswith(prefixes)}
        misfit = next((name for name in sorted(there) if asked.models.get(name) != there[name]), None)
        if misfit is None:
            continue
        if misfit in asked.models:
            found.append(f"it was made for another model: {misfit} has another size now ({setting})")
        else:
            found.append(f"it was made for another model: there is no {misfit} now ({setting})")
    return found


def _list(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in sorted(numbers))
