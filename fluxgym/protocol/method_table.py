# SPDX-License-Identifier: Apache-2.0
"""All methods by their full names, for a program that is asked for one by its name."""

import importlib
import pkgutil
from typing import Any

import fluxgym.protocol
from fluxgym.protocol.methods import Method

TABLES = [table.name for table in pkgutil.iter_modules(fluxgym.protocol.__path__) if table.name.endswith("methods")]
"""The modules of fluxgym that are tables of methods."""

METHODS: dict[str, Method[Any, Any]] = {
    value.name: value
    for name in TABLES
    for value in vars(importlib.import_module(f"fluxgym.protocol.{name}")).values()
    if isinstance(value, Method)
}
