# SPDX-License-Identifier: Apache-2.0
"""All methods by their full names, for a program that is asked for one by its name."""

import importlib
import pkgutil
from typing import Any

import fluxgym
from fluxgym.methods import Method

TABLES = [module.name for module in pkgutil.iter_modules(fluxgym.__path__) if module.name.endswith("methods")]
"""The modules of fluxgym that are tables of methods."""

METHODS: dict[str, Method[Any, Any]] = {
    value.name: value
    for name in TABLES
    for value in vars(importlib.import_module(f"fluxgym.{name}")).values()
    if isinstance(value, Method)
}
