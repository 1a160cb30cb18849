# SPDX-License-Identifier: Apache-2.0
"""No file imports itself by way of others, and neither does a folder: each program is built in floors.

An import for type checkers alone counts like any other, since it ties two files together just as much.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.harness.imports import ROOT, imported

PACKAGES = {"fluxgym": "", "fluxgymd": "", "fluxgymctl": "", "fluxgymweb": "", "library": "sd-scripts/"}
"""Our packages, each with the folder that it is in."""

Graph = dict[str, set[str]]


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """The nodes of a cycle, the first one also at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def files(package: str) -> Graph:
    """The modules of the package, each with those that it imports."""
    root = ROOT / PACKAGES[package]
    modules = {name_of(path.relative_to(root).with_suffix("").parts): path for path in (root / package).rglob("*.py")}
    graph = {}
    for name, path in modules.items():
        found = {module for _, module in imported(ast.parse(path.read_text(encoding="utf-8")))}
        # `from a import b` names the package a only to reach its module b.
        passed = {module.rpartition(".")[0] for module in found}
        graph[name] = (found & modules.keys()) - passed - {name}
    return graph


def name_of(parts: tuple[str, ...]) -> str:
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folders(graph: Graph) -> Graph:
    """The folders of a package, each with those that its files import. Modules that lie loose in the package are left
    out: some are below all folders, and the main program is above them."""
    of_folders: defaultdict[str, set[str]] = defaultdict(set)
    for module, others in graph.items():
        folder = module.rpartition(".")[0]
        beside = {other.rpartition(".")[0] for other in others}
        if "." in folder:
            of_folders[folder] |= {other for other in beside if "." in other} - {folder}
    return of_folders


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_imports_itself_by_way_of_others(package: str) -> None:
    graph = files(package)
    assert len(graph) > 10
    assert cycle_in(graph) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_imports_itself_by_way_of_others(package: str) -> None:
    assert cycle_in(folders(files(package))) == []


def test_a_cycle_of_files_is_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_a_cycle_of_folders_is_found_although_no_file_is_in_one() -> None:
    graph = {"p.x.a": {"p.y.b"}, "p.y.c": {"p.x.d"}, "p.y.b": set(), "p.x.d": {"p.loose"}, "p.loose": {"p.x.e"}}
    assert cycle_in(graph) == []
    assert set(cycle_in(folders(graph))) == {"p.x", "p.y"}
