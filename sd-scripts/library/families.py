# SPDX-License-Identifier: Apache-2.0
"""The families of models that this trainer trains. No other module knows them: the rest works on `family.port`."""

from __future__ import annotations

from collections.abc import Mapping

from library.family.port import Family
from library.flux.base_model import Flux1
from library.options.options import Options

FAMILIES: Mapping[str, Family] = {"networks.lora_flux": Flux1()}
"""By the --network_module that sd-scripts has for each."""
# For a command line whose --network_module is refused: its other problems are still reported.
USUAL = "networks.lora_flux"


def of(options: Options) -> Family:
    """The family of a command line."""
    return FAMILIES.get(options.network_module, FAMILIES[USUAL])
