# SPDX-License-Identifier: Apache-2.0
"""Recognizes another program's settings by their content, and reads them. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fluxgym import toml
from fluxgymd.core.journal.decoding import decode
from fluxgymd.exchange import ai_toolkit, kohya_gui, sd_scripts
from fluxgymd.exchange.carried import Carried, refuse

MOST_BYTES = 32 << 10
"""The largest text that is read. Such files have a few thousand bytes; PyYAML takes a second for as many as this."""

Convert = Callable[[Mapping[str, Any], Carried], None]

FLAGS = frozenset(
    {"pretrained_model_name_or_path", "network_module", "output_name", "train_data_dir", "dataset_config"}
)
"""Any of these is in each --config_file of sd-scripts."""
OURS = frozenset(
    {"dataset", "parts", "trigger_word", "epochs", "save_every_epochs", "trainer_options", "sample_prompts"}
)
"""Keys of our own spec file that no other program has."""


def read(text: str) -> tuple[str, Mapping[str, Any], Convert]:
    """The program's name, its document, and what converts it. InvalidSetting if it is none of the known ones."""
    if len(text.encode(errors="surrogateescape")) > MOST_BYTES:
        raise refuse(f"The file has more than {MOST_BYTES} bytes, the limit for another program's settings.")
    text = text.removeprefix("\ufeff")
    document = _document(text)
    try:
        repr(document)  # the notes quote its values
    except (ValueError, RecursionError):
        raise refuse("The file has a number with thousands of digits, or its values are nested too deeply.") from None
    if "LoRA_type" in document or ("train_data_dir" in document and "xformers" in document):
        return "kohya_ss", document, kohya_gui.convert
    if isinstance(document.get("config"), dict) and "process" in document["config"]:
        return "ai-toolkit", document, ai_toolkit.convert
    if isinstance(document.get("datasets"), list):
        return "sd-scripts (dataset.toml)", document, sd_scripts.dataset
    flat = {key for name, value in document.items() for key in (value if isinstance(value, dict) else (name,))}
    if flat & FLAGS:
        return "sd-scripts (--config_file)", document, sd_scripts.config_file
    if document.keys() & OURS:
        raise refuse("The file is a spec file of FluxGym's own; give it with --file.")
    raise refuse(
        "The file is in none of the formats that FluxGym reads: a kohya_ss GUI's JSON, sd-scripts' dataset.toml or "
        "--config_file, or an ai-toolkit YAML."
    )


def _document(text: str) -> Mapping[str, Any]:
    """The tables of a text in JSON, TOML or YAML. InvalidSetting."""
    if text.lstrip().startswith("{"):
        try:
            return decode(text.encode(errors="surrogateescape"), dict[str, Any])
        except msgspec.MsgspecError as error:
            raise refuse(f"The file is not valid JSON: {error}.") from None
    try:
        return toml.parse(text)
    except toml.NotToml as not_toml:
        document = _yaml(text)
        if document is None:
            raise refuse(f"The file is neither JSON nor YAML, and {not_toml}.") from None
        return document


def _yaml(text: str) -> Mapping[str, Any] | None:
    """The document in a YAML text; None if it is none. Aliases are refused: a few can make a document of any size."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise refuse("The YAML has an alias (*name), which FluxGym does not read; write its value instead.")
            return super().compose_node(parent, index)

    try:
        document = yaml.load(text, Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return None
    return document if isinstance(document, dict) and all(isinstance(key, str) for key in document) else None
