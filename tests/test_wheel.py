# SPDX-License-Identifier: Apache-2.0
"""Packaging: what a wheel and an sdist contain, that both carry the web page, and when the page is rebuilt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from build_page import Page
from tests.harness.copied import copy_checkout
from tests.harness.waiting import BUILD_SECONDS

NO_NODE = "/usr/bin:/bin"
NO_REGISTRY = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_cache": "/nonexistent"}


@pytest.fixture(scope="module")
def copy(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with a fresh page, but without npm's packages."""
    page = Page(checkout)
    if not page.is_fresh():
        page.build()
    target = tmp_path_factory.mktemp("copy")
    copy_checkout(checkout, target)
    return target


def pack(project: Path, kind: str, folder: Path, **environment: str) -> Path:
    """Builds a `wheel` or an `sdist` into the folder, with this environment's hatchling."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", folder],
        cwd=project,
        env={"PATH": NO_NODE, "HOME": os.environ["HOME"], **NO_REGISTRY, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=BUILD_SECONDS,
    )
    (built,) = folder.iterdir()
    return built


def test_a_wheel_is_the_same_from_the_checkout_and_from_the_sdist_without_npm(copy: Path, tmp_path: Path) -> None:
    wheel = pack(copy, "wheel", tmp_path / "1")
    assert pack(copy, "wheel", tmp_path / "2").read_bytes() == wheel.read_bytes()
    sdist = pack(copy, "sdist", tmp_path / "3")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xf", sdist], cwd=tmp_path / "unpacked", check=True, timeout=BUILD_SECONDS)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert pack(unpacked, "wheel", tmp_path / "4").read_bytes() == wheel.read_bytes()


def test_a_wheel_has_the_programs_their_data_and_the_page_but_not_its_sources(copy: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(copy, "wheel", tmp_path / "wheel")) as wheel:
        names = set(wheel.namelist())
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        programs = wheel.read(entry_points).decode()
    assert {
        *("fluxgym/interfaces/org.fluxgym.Jobs.varlink", "fluxgym/py.typed", "fluxgymd/presets/__init__.py"),
        *("fluxgymd/py.typed", "fluxgymctl/verbs/__init__.py", "fluxgymweb/static/index.html"),
        *("fluxgymweb/static/.stamp", "fluxgymweb/static/THIRD_PARTY.txt"),
    } <= names
    assert any(name.startswith("fluxgymd/presets/") and name.endswith(".toml") for name in names)
    assert any(name.startswith("fluxgymweb/static/assets/page-") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        *("fluxgym", "fluxgymd", "fluxgymctl", "fluxgymweb")
    }
    assert not [name for name in names if name.startswith("fluxgymweb/ui/") or "__pycache__" in name]
    assert "fluxgymd = fluxgymd.main:main" in programs
    assert "fluxgymctl = fluxgymctl.main:main" in programs


def requirements(project: Path) -> str:
    """What the build hook asks pip for, besides hatchling."""
    program = "from hatchling.build import get_requires_for_build_wheel as ask; print(ask())"
    return subprocess.check_output(
        [sys.executable, "-c", program], cwd=project, text=True, timeout=BUILD_SECONDS
    ).strip()


def test_node_is_required_only_if_a_source_of_the_page_has_changed(copy: Path) -> None:
    node = [Page(copy).node_requirement()]
    assert requirements(copy) == "[]"
    for name in ("fluxgymweb/ui/src/text.ts", "fluxgym/interfaces/org.fluxgym.Jobs.varlink"):
        source = copy / name
        before = source.read_text()
        os.utime(source, (1, 1))
        assert requirements(copy) == "[]"
        source.write_text(before + "\n")
        assert requirements(copy) == str(node)
        source.write_text(before)
    new = copy / "fluxgymweb/ui/src/new.ts"
    new.touch()
    assert requirements(copy) == str(node)
    new.unlink()
    assert requirements(copy) == "[]"


def test_two_builds_of_the_page_are_identical(checkout: Path, copy: Path) -> None:
    page = Page(copy)
    built = contents(page.static)
    ours = Page(checkout)
    ours.install_tools()
    unused = shutil.ignore_patterns("*typescript*", "axe-core")
    shutil.copytree(ours.ui / "node_modules", page.ui / "node_modules", symlinks=True, ignore=unused)
    page.build()
    assert contents(page.static) == built


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_lists_the_licences_of_what_it_contains(copy: Path) -> None:
    notices = (Page(copy).static / "THIRD_PARTY.txt").read_text()
    for package in ("preact ", "@preact/signals ", "@preact/signals-core "):
        assert f"{package}" in notices
    assert notices.count("Permission is hereby granted") >= 3
