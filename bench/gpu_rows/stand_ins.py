# SPDX-License-Identifier: Apache-2.0
"""Stands in for modules that kohya-ss/sd-scripts imports and that a step of its Flux trainer never uses.

Every name of such a module is a class that takes anything and does nothing, so it can be imported, inherited from and
called while sd-scripts' modules are read.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar


class _Anything(type):
    """The metaclass of classes that have every attribute."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls()


class StandIn(metaclass=_Anything):
    """A class or value of a module that is missing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return StandIn()


class _Module(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (StandIn,), {})
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the named modules, and all their submodules."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        parts = fullname.split(".")
        if not any(".".join(parts[:count]) in self._names for count in range(1, len(parts) + 1)):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


def install(*, packages: Iterable[str], modules: Iterable[str]) -> list[str]:
    """Installs stand-ins for those of the packages that cannot be found, and for the modules. Returns their names."""
    stood_in = [*(name for name in packages if importlib.util.find_spec(name) is None), *modules]
    sys.meta_path.insert(0, _Finder(stood_in))
    return stood_in
