# SPDX-License-Identifier: Apache-2.0
"""Settings of kohya-ss/sd-scripts as those of a job: its dataset.toml, and its --config_file."""

import math
import re
from collections.abc import Mapping
from typing import Any

from fluxgym import toml
from fluxgym.messages import TriggerPlace
from fluxgymd.exchange.carried import Carried, asks_nothing, caption_ending
from fluxgymd.trainers.dataset_toml import OFF

DATA_KEYS = {"batch_size": "train_batch_size"}
"""Key of dataset.toml -> the flag that does the same, if it has another name."""
CHOSEN_BY_FLUXGYM = ("timestep_sampling", "discrete_flow_shift", "model_prediction_type", "guidance_scale")
"""Flags that change what is learned, and that FluxGym passes by default, other than sd-scripts' own defaults."""
CAPTION = ".caption"
"""sd-scripts' default ending of captions."""
FOLDER = re.compile(r"([1-9]\d*)_(.*)")


def dataset(document: Mapping[str, Any], carried: Carried) -> None:
    """A dataset.toml alone, with sd-scripts' default where a job has another one."""
    carried.options["caption_extension"] = [CAPTION]
    _dataset(document, carried)


def _dataset(document: Mapping[str, Any], carried: Carried) -> None:
    """The keys of a dataset.toml. An inner level overrides an outer one."""
    datasets = tables(document.get("datasets"))
    subsets = [(outer, inner) for outer in datasets for inner in tables(outer.get("subsets"))]
    for _, inner in subsets[1:]:
        folder = inner.get("image_dir", "a folder")
        kind = "regularisation pictures" if inner.get("is_reg") else "pictures"
        carried.leave("image_dir", folder, f"a job has one folder of pictures, and these are further {kind}")
    general = document.get("general")
    outer, inner = subsets[0] if subsets else (datasets[0] if datasets else {}, {})
    said: dict[str, Any] = {**(general if isinstance(general, dict) else {}), **outer, **inner}
    said.pop("subsets", None)
    carried.fields["repeats"] = 1
    carried.fields["enable_bucket"] = False
    for key, value in said.items():
        _key(key, value, carried)


def _key(key: str, value: Any, carried: Carried) -> None:
    if key == "image_dir":
        path = carried.path(key, value)
        if path is not None:
            carried.fields["dataset"] = path
    elif key == "class_tokens":
        trigger(value, carried)
    elif key == "num_repeats":
        carried.whole("repeats", key, value)
    elif key == "resolution":
        resolution(value, carried)
    elif key in ("caption_extension", "caption_extention"):
        caption_ending(carried, str(value))
    elif key == "is_reg":
        carried.leave(key, value, "a job has no regularisation pictures")
    elif key == "keep_tokens" and not value:
        carried.options[key] = ["0"]
    else:
        carried.flag(DATA_KEYS.get(key, key), value)


def trigger(value: object, carried: Carried) -> None:
    """sd-scripts' class tokens are the caption of a picture that has none."""
    if not asks_nothing(value):
        carried.fields["trigger_word"] = str(value)
        carried.fields["trigger_place"] = TriggerPlace.MISSING


def resolution(value: object, carried: Carried) -> None:
    """A number, `512`, `512,512` or a list of two."""
    if asks_nothing(value):
        return
    sides = re.split(r"\s*[,x]\s*", value) if isinstance(value, str) else value
    sides = sides if isinstance(sides, list) else [sides]
    if len(sides) > 1 and str(sides[0]) != str(sides[1]):
        carried.leave("resolution", value, "a job's resolution is one number; give it as --resolution")
    else:
        carried.whole("resolution", "resolution", sides[0])


def config_file(document: Mapping[str, Any], carried: Carried) -> None:
    """The flags of a --config_file. Its tables have no meaning."""
    said: dict[str, Any] = {}
    for key, value in document.items():
        said |= value if isinstance(value, dict) else {key: value}
    flags(said, carried)
    for name in CHOSEN_BY_FLUXGYM:
        if name not in said:
            carried.options[name] = OFF


def flags(said: Mapping[str, Any], carried: Carried) -> None:
    """The flags of a training, by name."""
    rest = dict(said)
    carried.fields["enable_bucket"] = False
    if rest.get("resolution"):
        resolution(rest["resolution"], carried)
    rest.pop("resolution", None)
    caption_ending(carried, str(rest.pop("caption_extension", None) or CAPTION))
    before = dict(carried.options)
    _pictures(rest, carried)
    of_the_file = {name for name, words in carried.options.items() if before.get(name) != words}
    _prompts(rest.pop("sample_prompts", None), carried)
    steps = rest.pop("max_train_steps", None)
    for name, value in rest.items():
        if name not in of_the_file:  # dataset.toml overrides the command line
            carried.flag(name, value)
    if steps and "epochs" not in carried.fields:
        length(steps, "max_train_steps", carried)
    if not carried.fields.get("sample_prompts"):
        for name in ("sample_every_steps", "sample_every_epochs"):
            if carried.fields.pop(name, None):
                carried.notes.append(f"{name} is left out, since the file has no prompts.")


def length(steps: object, name: str, carried: Carried) -> None:
    """The number of steps as epochs, which a job counts."""
    wanted = _positive(str(steps), otherwise=0.0)
    batch = 1.0
    for flag in ("train_batch_size", "gradient_accumulation_steps"):
        batch *= _positive((carried.options.get(flag) or ["1"])[0], otherwise=1.0)
    epochs = carried.epochs_of(wanted, batch=batch) if wanted else None
    if epochs is None:
        carried.leave(name, steps, "a job counts epochs, and its pictures could not be counted; give --epochs")
    else:
        carried.fields["epochs"] = epochs
        carried.notes.append(f"{name} = {steps} becomes epochs = {epochs}, as many as have that number of steps.")


def _positive(word: str, *, otherwise: float) -> float:
    """The number in a word, if it is one and more than 0."""
    try:
        number = float(word)
    except ValueError:
        return otherwise
    return number if 0 < number < math.inf else otherwise


def _pictures(rest: dict[str, Any], carried: Carried) -> None:
    """Takes the flags about the pictures out of `rest`."""
    file, folder = rest.pop("dataset_config", None), rest.pop("train_data_dir", None)
    if file:
        path = carried.path("dataset_config", file)
        text = carried.files.text(path) if path else None
        try:
            if text is not None:
                _dataset(toml.parse(text), carried)
            elif path:
                carried.leave("dataset_config", file, "the file cannot be read")
        except toml.NotToml as error:
            carried.leave("dataset_config", file, f"the file {error}")
    elif folder:
        _kohya_folder(str(folder), carried)


def _kohya_folder(folder: str, carried: Carried) -> None:
    """sd-scripts' own layout: a folder with subfolders such as `10_a cat`."""
    path = carried.path("train_data_dir", folder)
    if path is None:
        return
    found = [match for name in carried.files.folders(path) or () if (match := FOLDER.fullmatch(name))]
    if not found:
        carried.leave("train_data_dir", folder, "it has no folder such as `10_name`; give the one with the pictures")
        return
    carried.fields["dataset"] = f"{path}/{found[0][0]}"
    carried.fields["repeats"] = int(found[0][1])
    trigger(found[0][2].strip(), carried)
    for other in found[1:]:
        carried.leave("train_data_dir", f"{folder}/{other[0]}", "a job has one folder of pictures")


def _prompts(value: object, carried: Carried) -> None:
    """The prompts: a text of several lines, or the path of a file with them."""
    if not value:
        return
    text = str(value)
    if "\n" not in text and text.endswith((".txt", ".toml", ".json")):
        path = carried.path("sample_prompts", text)
        read = carried.files.text(path) if path and text.endswith(".txt") else None
        if read is None:
            carried.leave("sample_prompts", text, "only a text file that can be read has prompts for a job")
        text = read or ""
    prompts = [line.strip() for line in text.splitlines()]
    carried.fields["sample_prompts"] = [prompt for prompt in prompts if prompt and not prompt.startswith("#")]


def tables(value: object) -> list[dict[str, Any]]:
    """The tables in a list of them; what is no table is left out."""
    return [table for table in value if isinstance(table, dict)] if isinstance(value, list) else []
