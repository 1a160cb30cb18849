# SPDX-License-Identifier: Apache-2.0
"""The optimizer of --optimizer_type. Its parameter groups, each with one learning rate, are in sd-scripts' order, so
that sd-scripts' states fit.

The name is one of NAMED (case does not matter), a class of torch.optim, or the path of any class. A package is
imported only for the optimizers that need it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from library import garbage
from library.errors import TrainerError
from library.findings import warn
from library.lora.lora import LoRANetwork
from library.options.options import Options
from library.options.trained_layers import CLIP_PREFIX, TRANSFORMER_PREFIX

# sd-scripts' names: the path of the class, and the package that must be installed for it.
NAMED = {
    "adafactor": ("transformers.optimization.Adafactor", "transformers"),
    "adamw": ("torch.optim.AdamW", "torch"),
    "adamw8bit": ("bitsandbytes.optim.AdamW8bit", "bitsandbytes"),
    "pagedadamw": ("bitsandbytes.optim.PagedAdamW", "bitsandbytes"),
    "pagedadamw8bit": ("bitsandbytes.optim.PagedAdamW8bit", "bitsandbytes"),
    "pagedadamw32bit": ("bitsandbytes.optim.PagedAdamW32bit", "bitsandbytes"),
    "lion": ("lion_pytorch.Lion", "lion-pytorch"),
    "lion8bit": ("bitsandbytes.optim.Lion8bit", "bitsandbytes"),
    "pagedlion8bit": ("bitsandbytes.optim.PagedLion8bit", "bitsandbytes"),
    "sgdnesterov": ("torch.optim.SGD", "torch"),
    "sgdnesterov8bit": ("bitsandbytes.optim.SGD8bit", "bitsandbytes"),
    "prodigy": ("prodigyopt.Prodigy", "prodigyopt"),
    "dadaptation": ("dadaptation.experimental.DAdaptAdamPreprint", "dadaptation"),
    "dadaptadampreprint": ("dadaptation.experimental.DAdaptAdamPreprint", "dadaptation"),
    "dadaptadagrad": ("dadaptation.DAdaptAdaGrad", "dadaptation"),
    "dadaptadam": ("dadaptation.DAdaptAdam", "dadaptation"),
    "dadaptadan": ("dadaptation.DAdaptAdan", "dadaptation"),
    "dadaptadanip": ("dadaptation.experimental.DAdaptAdanIP", "dadaptation"),
    "dadaptlion": ("dadaptation.DAdaptLion", "dadaptation"),
    "dadaptsgd": ("dadaptation.DAdaptSGD", "dadaptation"),
    "adamwschedulefree": ("schedulefree.AdamWScheduleFree", "schedulefree"),
    "radamschedulefree": ("schedulefree.RAdamScheduleFree", "schedulefree"),
    "sgdschedulefree": ("schedulefree.SGDScheduleFree", "schedulefree"),
}
# 8-bit and paged forms of AdamW, which fused AdamW can replace: it takes the same steps with more memory.
LIKE_ADAMW = ("adamw8bit", "pagedadamw", "pagedadamw8bit", "pagedadamw32bit")
ADAMW_ARGS = ("betas", "eps", "weight_decay", "amsgrad")
# Beginnings of names. These optimizers find a rate themselves and multiply it by --learning_rate, which should be
# about 1.
ADAPTIVE = ("prodigy", "dadapt")
ADAPTIVE_RATE_TOO_LOW = 0.1


def build(network: LoRANetwork, options: Options, *, on_gpu: bool) -> Optimizer:
    """The optimizer, in training mode. `on_gpu`: whether the training runs on a GPU.

    Raises TrainerError for a missing package or class, for arguments that the class refuses, and if every learning
    rate is 0.
    """
    groups = parameter_groups(network, options)
    if not groups:
        raise nothing_to_train()
    return of_groups(groups, options, on_gpu=on_gpu, warn=warn)


def nothing_to_train() -> TrainerError:
    return TrainerError("--learning_rate: every learning rate is 0, so nothing would be trained; set one above 0")


def of_groups(
    groups: list[dict[str, Any]], options: Options, *, on_gpu: bool, warn: Callable[[str], None]
) -> Optimizer:
    """The optimizer over any parameter groups. `on_gpu`: whether the parameters are on a GPU; `warn` gets sentences
    for the user."""
    name = options.optimizer_type.lower()
    arguments = dict(options.optimizer_args or [])
    if name in LIKE_ADAMW and (missing := _missing_for_bitsandbytes(on_gpu=on_gpu)):
        left_out = sorted(arguments.keys() - set(ADAMW_ARGS))
        without = f", without {', '.join(left_out)}" if left_out else ""
        warn(f"--optimizer_type {options.optimizer_type}: {missing}; fused AdamW is used instead{without}")
        name, arguments = "adamw", {key: arguments[key] for key in arguments if key in ADAMW_ARGS}
    if name == "adamw":
        arguments = {"fused": True, **arguments}
    elif name == "adafactor":
        _prepare_adafactor(groups, options, arguments, warn)
    elif name.startswith("sgdnesterov"):
        arguments = {"momentum": 0.9, **arguments, "nesterov": True}
    elif name.startswith(ADAPTIVE):
        _check_adaptive(groups, warn)
    optimizer = _make(_class_of(options.optimizer_type, name), groups, arguments)
    begin(optimizer)
    return optimizer


def parameter_groups(network: LoRANetwork, options: Options) -> list[dict[str, Any]]:
    """The groups of CLIP-L, then the transformer's; in each, those of the patterns, then the rest; in each of these,
    the down matrices, then (with LoRA+) the up matrices. Parameters with rate 0 are left out and are not trained."""
    return [{"params": parameters, "lr": rate} for _, parameters, rate in _groups(network, options)]


def group_names(network: LoRANetwork, options: Options) -> list[str]:
    """sd-scripts' names of these groups in its logs, spaces included: `unet`, `unet plus`, `unet reg_lr_0`."""
    return [name for name, _, _ in _groups(network, options)]


def _groups(network: LoRANetwork, options: Options) -> Iterator[tuple[str, list[nn.Parameter], float]]:
    """(name, parameters, rate) of each group."""
    for prefix, side, rate in (
        (CLIP_PREFIX, "textencoder 1 ", _first(options.clip_lr, options.learning_rate)),
        (TRANSFORMER_PREFIX, "unet", _first(options.unet_lr, options.learning_rate)),
    ):
        for words, parameters, own in _groups_of(network, options, prefix, rate):
            yield side + "".join(f" {word}" for word in words), parameters, own


def _groups_of(
    network: LoRANetwork, options: Options, prefix: str, rate: float
) -> Iterator[tuple[list[str], list[nn.Parameter], float]]:
    settings = options.network
    ratio = settings.plus_ratio_of(prefix)
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    rest = len(settings.pattern_rates)
    for name, part in network.parts():
        if not name.startswith(prefix):
            continue
        pattern = settings.rate_pattern_of(name)
        place = rest if pattern is None else pattern
        found.setdefault((place, False), []).append(part.down)
        found.setdefault((place, ratio is not None), []).append(part.up)
    for (place, plus), parameters in sorted(found.items(), key=lambda item: item[0]):
        own = rate if place == rest else settings.pattern_rates[place][1]
        own = own * ratio if plus and ratio else own
        if own:
            yield [f"reg_lr_{place}"] * (place != rest) + ["plus"] * plus, parameters, own


def _first(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _missing_for_bitsandbytes(*, on_gpu: bool) -> str | None:
    if importlib.util.find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed"
    if not on_gpu:
        return "bitsandbytes needs an NVIDIA GPU"
    return None


def _prepare_adafactor(
    groups: list[dict[str, Any]], options: Options, arguments: dict[str, Any], warn: Callable[[str], None]
) -> None:
    """Changes groups and arguments as sd-scripts does: with relative_step, which is on unless the arguments turn it
    off, Adafactor finds the rates itself and must not be given any."""
    arguments.setdefault("relative_step", True)
    arguments["relative_step"] = arguments["relative_step"] or arguments.get("warmup_init", False)
    if arguments["relative_step"]:
        for group in groups:
            del group["lr"]
        warn(
            "Adafactor with relative_step finds the learning rate itself; --learning_rate is only the rate shown at "
            "the start"
        )
        if options.lr_scheduler != "constant":
            warn(f"--lr_scheduler {options.lr_scheduler} has no effect with Adafactor's relative_step")
    elif options.max_grad_norm:
        warn("Adafactor clips its updates itself; set --max_grad_norm 0 so that gradients are not clipped as well")


def _check_adaptive(groups: list[dict[str, Any]], warn: Callable[[str], None]) -> None:
    rates = {group["lr"] for group in groups}
    if max(rates) <= ADAPTIVE_RATE_TOO_LOW:
        warn(f"this optimizer multiplies --learning_rate by a rate that it finds: {max(rates):g} is low, 1 is usual")
    if len(rates) > 1:
        warn("this optimizer finds one rate for all layers; different learning rates only scale it")


def _class_of(written: str, name: str) -> type:
    """The class to use for --optimizer_type `written`. `name`: the same in lower case, or `adamw` if that replaces
    it. Raises TrainerError if there is no such class."""
    path, package = NAMED.get(name, (written if "." in written else f"torch.optim.{written}", None))
    module, _, class_name = path.rpartition(".")
    try:
        with garbage.paused():
            found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        needed = (
            f"needs the package {package}, which is not installed"
            if package
            else f"is not one of {', '.join(NAMED)}, and there is no class {path}"
        )
        raise TrainerError(f"--optimizer_type {written}: {needed}") from error
    if not isinstance(found, type) or not hasattr(found, "step"):
        raise TrainerError(f"--optimizer_type {written}: {path} is not an optimizer")
    return found


def _make(kind: type, groups: list[dict[str, Any]], arguments: dict[str, Any]) -> Optimizer:
    rates = [group["lr"] for group in groups if "lr" in group]
    try:
        with garbage.paused():  # the first optimizer of a process imports torch._dynamo
            made: Optimizer = kind(groups, lr=rates[-1] if rates else None, **arguments)
    except Exception as error:  # a class from any package may raise anything
        raise TrainerError(f"--optimizer_args: {kind.__name__} rejected them: {error}") from error
    return made


def may_need_gpu(written: str, *, on_gpu: bool) -> bool:
    """Whether an optimizer may need a GPU to be built or to make a step: those of bitsandbytes, unless AdamW replaces
    them because there is no GPU, and any class given by its path that is not one of torch's."""
    name = written.lower()
    if name in LIKE_ADAMW:
        return on_gpu
    _, package = NAMED.get(name, (written, None))
    return is_foreign(written) or package == "bitsandbytes"


def is_foreign(written: str) -> bool:
    """Whether an optimizer is given by the path of a class outside torch, whose needs are unknown."""
    return written.lower() not in NAMED and "." in written and not written.startswith("torch.")


def find_class(options: Options) -> type:
    """The class of --optimizer_type. Raises TrainerError if there is none."""
    return _class_of(options.optimizer_type, options.optimizer_type.lower())


def begin(optimizer: Optimizer) -> None:
    """Puts a schedule-free optimizer into training mode. sd-scripts saves states in evaluation mode."""
    if is_schedule_free(optimizer):
        optimizer.train()  # type: ignore[attr-defined]


def is_schedule_free(optimizer: Optimizer) -> bool:
    return "train_mode" in optimizer.param_groups[0]


@contextlib.contextmanager
def weights_in_use(optimizer: Optimizer) -> Iterator[None]:
    """Within the context, the parameters have the values to save as a LoRA, to sample and to validate with: a
    schedule-free optimizer's average, and otherwise the current ones. Afterwards they are restored bit for bit from a
    copy: the package's own way back rounds, and saving more often must not change the result of a run."""
    if not is_schedule_free(optimizer):
        yield
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
        for group in optimizer.param_groups:
            group["train_mode"] = True


def learning_rate(optimizer: Optimizer, options: Options) -> float:
    """The rate of the transformer's down matrices, times an adaptive optimizer's factor."""
    plus = options.network.plus_ratio_of(TRANSFORMER_PREFIX) is not None and len(optimizer.param_groups) > 1
    group = optimizer.param_groups[-2 if plus else -1]
    return float(group["lr"] or 0.0) * float(group.get("d", 1.0))
