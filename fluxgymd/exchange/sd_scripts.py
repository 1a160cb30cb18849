# SPDX-License-Identifier: Apache-2.0
"""Settings of kohya-ss/sd-scripts as those of a job: its dataset.toml, and its --config_file."""

import math
import re
from collections.abc import Mapping
from typing import Any

from fluxgym import toml
from fluxgymd.exchange import folders
from fluxgymd.exchange.carried import Carried, asks_nothing, caption_ending
from fluxgymd.exchange.folders import Folder
from fluxgymd.trainers.dataset_toml import OFF

DATA_KEYS = {"batch_size": "train_batch_size"}
"""Key of dataset.toml -> the flag that does the same, if it has another name."""
CHOSEN_BY_FLUXGYM = ("timestep_sampling", "discrete_flow_shift", "model_prediction_type", "guidance_scale")
"""Flags that change what is learned, and that FluxGym passes by default, other than sd-scripts' own defaults."""
CAPTION = ".caption"
"""sd-scripts' default ending of captions."""
OF_FOLDERS = ("image_dir", "num_repeats", "is_reg", "class_tokens", "subsets")
"""Keys that each folder has for itself, as a part of a job."""
FOLDER = re.compile(r"([1-9]\d*)_(.*)")


def dataset(document: Mapping[str, Any], carried: Carried) -> None:
    """A dataset.toml alone, with sd-scripts' default where a job has another one."""
    carried.options["caption_extension"] = [CAPTION]
    _dataset(document, carried)


def _dataset(document: Mapping[str, Any], carried: Carried) -> None:
    """The keys of a dataset.toml. An inner level overrides an outer one."""
    general = document.get("general")
    above: dict[str, Any] = general if isinstance(general, dict) else {}
    said = [
        {**above, **outer, **inner}
        for outer in tables(document.get("datasets"))
        for inner in tables(outer.get("subsets")) or [{}]
    ] or [above]
    carried.fields["repeats"] = 1
    carried.fields["enable_bucket"] = False
    found = [_folder(keys) for keys in said if keys.get("image_dir")]
    if found:
        folders.carry(found, carried)
    first, *others = [{key: value for key, value in keys.items() if key not in OF_FOLDERS} for keys in said]
    for key, value in first.items():
        _key(key, value, carried)
    unknown = {key for key in first if carried.known and DATA_KEYS.get(key, key) not in carried.known}
    for keys, other in zip(said[1:], others, strict=True):
        folders.note_differences(first, other, keys.get("image_dir", "a folder"), carried, except_for=unknown)


def _folder(keys: Mapping[str, Any]) -> Folder:
    return Folder(
        key="image_dir",
        path=keys["image_dir"],
        repeats=keys.get("num_repeats", 1),
        regularisation=keys.get("is_reg") is True,
        class_tokens=keys.get("class_tokens"),
    )


def _key(key: str, value: Any, carried: Carried) -> None:
    if key == "resolution":
        resolution(value, carried)
    elif key in ("caption_extension", "caption_extention"):
        caption_ending(carried, str(value))
    elif key == "keep_tokens" and not value:
        carried.options[key] = ["0"]
    else:
        carried.flag(DATA_KEYS.get(key, key), value)


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
    regularisation = rest.pop("reg_data_dir", None)
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
        _kohya_folders(str(folder), str(regularisation or ""), carried)


def _kohya_folders(folder: str, regularisation: str, carried: Carried) -> None:
    """sd-scripts' own layout: folders with subfolders such as `10_a cat`."""
    found = [
        *_subfolders("train_data_dir", folder, carried),
        *_subfolders("reg_data_dir", regularisation, carried, regularisation=True),
    ]
    if any(not each.regularisation for each in found):
        folders.carry(found, carried)


def _subfolders(key: str, folder: str, carried: Carried, *, regularisation: bool = False) -> list[Folder]:
    path = carried.path(key, folder) if folder else None
    if path is None:
        return []
    found = [match for name in carried.files.folders(path) or () if (match := FOLDER.fullmatch(name))]
    if not found:
        carried.leave(key, folder, "it has no folder such as `10_name`; give the one with the pictures")
    return [
        Folder(
            key=key,
            path=f"{path}/{match[0]}",
            repeats=int(match[1]),
            regularisation=regularisation,
            class_tokens=match[2].strip(),
        )
        for match in found
    ]


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
