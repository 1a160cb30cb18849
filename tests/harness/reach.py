# SPDX-License-Identifier: Apache-2.0
"""Which files of the tree a file can reach: the modules that it imports, the programs that it runs, the data that it
reads.

Pure: the tree is passed in as texts. Imports are read from the syntax tree. Programs and data are found by name: in a
test, a string that names a file, a folder or a program of the tree reaches it, and a folder stands for all files in
it. That finds too much rather than too little: a test that is left out by mistake costs more than a few minutes.
"""

from __future__ import annotations

import ast
import functools
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

IMPORT_ROOTS = ("", "sd-scripts/", "bench/", "bench/gpu_rows/", "bench/trainer_pair/")
"""Folders in which `import a.b` may find a/b.py, besides the folder of the importing file."""
PROGRAMS = {"fluxgym", "fluxgymd", "fluxgymctl", "fluxgymweb", "sd-scripts"}
"""Programs of the tree. In a test, each also counts inside a longer text, such as a command or source code."""

_WORD = re.compile(r"\.?\w[\w./-]*")


class Tree:
    """The tree. `texts`: the text of each file, by its path relative to the checkout."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.folders: defaultdict[str, set[str]] = defaultdict(set)
        """All files below each folder, by the folder's path (`tests`, `tests/harness`)."""
        for path in texts:
            for folder in _parents(path):
                self.folders[folder].add(path)

    def at(self, path: str) -> set[str]:
        """The file at this path, or all files in this folder; empty if neither exists."""
        path = posixpath.normpath(path)
        return {path} if path in self.texts else self.folders.get(path, set())

    @functools.cached_property
    def edges(self) -> dict[str, set[str]]:
        """The files that each file reaches in one step."""
        edges = {path: set(_edges(self, path)) - {path} for path in self.texts if path.endswith(".py")}
        for path, text in self.texts.items():
            if path in edges:
                continue
            # Data belongs to the modules of the nearest folder that has any: an interface file to its package.
            for owner in _owners(self, path):
                edges[owner].add(path)
            # A shell script or a unit reaches what it names.
            if text.startswith("#!/bin/sh") or path.startswith("units/"):
                edges[path] = set(_mentioned(self, path, text, widely=True)) - {path}
        return edges


def _parents(path: str) -> Iterator[str]:
    """The folders that contain it, innermost first, without the root."""
    while path := posixpath.dirname(path):
        yield path


def reached_by(tree: Tree, starts: Iterable[str]) -> dict[str, set[str]]:
    """For each of these files, all files that it can reach, including itself."""
    found = {}
    for start in starts:
        seen, waiting = {start}, [start]
        while waiting:
            new = tree.edges.get(waiting.pop(), set()) - seen
            seen |= new
            waiting.extend(new)
        found[start] = seen
    return found


def _owners(tree: Tree, path: str) -> set[str]:
    for folder in _parents(path):
        modules = {p for p in tree.folders[folder] if p.endswith(".py") and posixpath.dirname(p) == folder}
        if modules:
            return modules
    return set()


def _edges(tree: Tree, path: str) -> Iterator[str]:
    for folder in _parents(path):
        yield from {f"{folder}/__init__.py", f"{folder}/conftest.py"} & tree.texts.keys()
    syntax = ast.parse(tree.texts[path])
    documentation = set(_docstrings(syntax))
    for node in ast.walk(syntax):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module(tree, path, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from _module(tree, path, node.module)
            for alias in node.names:
                yield from _module(tree, path, f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            yield from _mentioned(tree, path, node.value, widely=path.startswith(("tests/", "bench/")))


def _docstrings(syntax: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(syntax):
        match node:
            case ast.Expr(value=ast.Constant() as text):
                yield text


def _module(tree: Tree, path: str, name: str) -> Iterator[str]:
    """The file of a module, and the `__init__.py` files of the packages around it."""
    own = f"{posixpath.dirname(path)}/"
    parts = name.split(".")
    for root in {*IMPORT_ROOTS, own}:
        file = f"{root}{'/'.join(parts)}.py"
        package = f"{root}{'/'.join(parts)}/__init__.py"
        if found := {file, package} & tree.texts.keys():
            yield from found
            for length in range(1, len(parts)):
                yield from {f"{root}{'/'.join(parts[:length])}/__init__.py"} & tree.texts.keys()


def _mentioned(tree: Tree, path: str, text: str, *, widely: bool) -> Iterator[str]:
    """The files that a text names: modules, as after `python -m`, and files in the same folder.

    widely  also files and folders anywhere in the tree, and programs in the middle of a text
    """
    alone = not any(character.isspace() for character in text)
    for word in set(_WORD.findall(text)):
        if alone:
            yield from tree.at(f"{posixpath.dirname(path)}/{word}")
        if alone or widely:
            yield from _dotted(tree, word)
        if widely:
            if alone or "/" in word[2:]:  # a sentence may advise the reader to run ./dev
                yield from tree.at(word)
            for part in PROGRAMS.intersection(word.split("/")):
                yield from tree.at(part)


def _dotted(tree: Tree, word: str) -> Iterator[str]:
    """The files of a dotted name such as `fluxgymd.gpus.probe`; for a package, all files in it."""
    if re.fullmatch(r"\w+(\.\w+)+", word):
        for root in IMPORT_ROOTS:
            yield from tree.at(f"{root}{word.replace('.', '/')}.py")
            yield from tree.at(f"{root}{word.replace('.', '/')}")
