# SPDX-License-Identifier: Apache-2.0
"""The rules for imports between packages. Each rule is a row; a second table proves that each can be broken."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.imports import imported

ROOT = Path(__file__).resolve().parent.parent

OURS = {"fluxgym", "fluxgymd", "fluxgymctl", "fluxgymweb"}
PROGRAMS = [f"{name}/" for name in sorted(OURS)]
HEAVY = {"torch", "accelerate", "safetensors", "transformers", "diffusers", "huggingface_hub", "peft", "numpy"}

# Modules that read a clock, draw random numbers or touch the outside world. The core gets facts as arguments instead.
IMPURE = {
    *("asyncio", "concurrent", "ctypes", "fcntl", "glob", "io", "logging", "mmap", "multiprocessing", "os"),
    *("random", "secrets", "select", "selectors", "shutil", "socket", "subprocess", "sys", "tempfile"),
    *("threading", "time", "urllib", "uuid"),
}
PURE_OF_OURS = {
    "fluxgym.protocol.event_messages",
    "fluxgym.protocol.messages",
    "fluxgym.protocol.dataset_messages",
    "fluxgym.protocol.output_messages",
    "fluxgym.protocol.machine_messages",
    "fluxgym.protocol.plan_messages",
    "fluxgym.names",
    "fluxgym.errors",
}

OF_ANY_TRAINER = {
    f"fluxgymd.trainers.{name}"
    for name in ("port", "choice", "ui_state", "progress", "progress.metrics", "progress.appended")
}

FAMILIES = ("sd-scripts/library/flux/",)
"""The folders of the trainer's families of models."""

Allowed = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for the imports of some folders. `allows` gets the name of each imported module: `a.b` for `import a.b`
    and for `from a.b import c`."""

    about: str
    folders: list[str]
    allows: Allowed
    but: tuple[str, ...] = ()


def top(module: str) -> str:
    return module.partition(".")[0]


def nothing_of(names: set[str]) -> Allowed:
    return lambda module: top(module) not in names


def in_core(module: str) -> bool:
    if module.startswith("fluxgymd.core"):
        return True
    if top(module) == "fluxgym":
        return module in PURE_OF_OURS
    return top(module) == "msgspec" or (top(module) in sys.stdlib_module_names and top(module) not in IMPURE)


def is_family(module: str) -> bool:
    return any(f"sd-scripts/{module.replace('.', '/')}/".startswith(folder) for folder in FAMILIES)


def trainer_modules() -> set[str]:
    return {path.stem for path in (ROOT / "sd-scripts").glob("*") if path.suffix in ("", ".py")} - {"__pycache__"}


RULES = [
    Rule(
        about="fluxgym/ is what the programs share: it knows none of them",
        folders=["fluxgym/"],
        allows=nothing_of(OURS - {"fluxgym"}),
    ),
    Rule(
        about="the daemon knows no client",
        folders=["fluxgymd/"],
        allows=nothing_of({"fluxgymctl", "fluxgymweb"}),
    ),
    Rule(
        about="a client knows neither the daemon nor another client",
        folders=["fluxgymctl/"],
        allows=nothing_of(OURS - {"fluxgym", "fluxgymctl"}),
    ),
    Rule(
        about="a client knows neither the daemon nor another client",
        folders=["fluxgymweb/"],
        allows=nothing_of(OURS - {"fluxgym", "fluxgymweb"}),
    ),
    Rule(
        about="the trainer knows nothing of ours; it can be replaced by kohya-ss/sd-scripts",
        folders=["sd-scripts/", "tests/sd_scripts/"],
        allows=nothing_of(OURS),
    ),
    Rule(
        about="nobody imports the trainer: it is run as a program",
        folders=PROGRAMS,
        allows=nothing_of(trainer_modules()),
    ),
    Rule(
        about="torch and its kin belong to the trainer; the daemon and the clients stay light",
        folders=PROGRAMS,
        allows=nothing_of(HEAVY),
    ),
    Rule(
        about="one module alone talks to D-Bus, in one thread",
        folders=["fluxgym/", "fluxgymd/", "fluxgymctl/", "fluxgymweb/", "sd-scripts/"],
        allows=nothing_of({"pydbus", "gi"}),
        but=("fluxgymd/host/bus.py",),
    ),
    Rule(
        about="the shim and the launcher are files of the standard library alone",
        folders=["fluxgymd/attempts/shim.py", "fluxgymd/background/tied.py"],
        allows=lambda module: top(module) in sys.stdlib_module_names,
    ),
    Rule(
        about="a trainer stands behind its port, and only trainers/choice.py knows its adapters",
        folders=[
            *(f"fluxgymd/{room}/" for room in ("api", "requests", "run", "jobs", "outputs", "watchdog")),
            "fluxgymd/daemon.py",
            "fluxgymd/wiring.py",
        ],
        allows=lambda module: not module.startswith("fluxgymd.trainers.") or module in OF_ANY_TRAINER,
    ),
    Rule(
        about="a family of models stands behind its port, and only families.py knows which ones there are",
        folders=["sd-scripts/library/"],
        allows=lambda module: not is_family(module),
        but=("sd-scripts/library/families.py", *FAMILIES),
    ),
    Rule(
        about="what every family shares knows neither a family nor which ones there are",
        folders=["sd-scripts/library/family/", "sd-scripts/library/compute/", *FAMILIES],
        allows=lambda module: not module.startswith("library.families"),
    ),
    Rule(
        about="the core decides and does nothing: no I/O, no clock, no chance",
        folders=["fluxgymd/core/"],
        allows=in_core,
    ),
    Rule(
        about="no program imports a test",
        folders=[*PROGRAMS, "sd-scripts/"],
        allows=nothing_of({"tests", "pytest", "hypothesis"}),
    ),
    Rule(
        about="no test imports another: what tests share is a module beside them",
        folders=["tests/"],
        allows=lambda module: top(module) != "tests" or ".test_" not in module,
    ),
]


def import_breaches(path: str, source: str) -> list[str]:
    """Returns one line for each import in the file `path` (relative to the checkout) that a rule forbids."""
    modules = list(imported(ast.parse(source)))
    # `from fluxgym import names` names the package only to reach its module, so only the module counts.
    passed = {name.rpartition(".")[0] for _, name in modules if top(name) in OURS}
    return [
        f"{path}:{line} imports {module}, but {rule.about}"
        for rule in RULES
        if path.startswith(tuple(rule.folders)) and not path.startswith(rule.but)
        for line, module in modules
        if module not in passed and not rule.allows(module)
    ]


def core_breaches(path: str, source: str) -> list[str]:
    """Returns one line for each call that the core must not make but that no import reveals."""
    if not path.startswith("fluxgymd/core/"):
        return []
    breaches = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("open", "print", "input")
        ):
            breaches.append(f"{path}:{node.lineno} calls {node.func.id}(), but the core does no I/O")
        if isinstance(node, ast.Name | ast.Attribute) and name_of(node) == "Path":
            breaches.append(f"{path}:{node.lineno} uses Path, which does I/O; the core takes a PurePath")
    return breaches


def sleep_breaches(path: str, source: str) -> list[str]:
    """Returns one line for each sleep in a test. A test that sleeps until a result is due wastes time on a fast
    machine and fails on a slow one."""
    if not path.startswith("tests/") or path == "tests/harness/waiting.py":
        return []
    breaches = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and name_of(node.func) == "sleep":
            instant = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if not instant:  # asyncio.sleep(0) lets others run
                breaches.append(f"{path}:{node.lineno} sleeps; wait for an event, or use tests.harness.waiting.until")
    return breaches


def private_breaches(path: str, source: str) -> list[str]:
    """Returns one line for each private name that a module of ours imports from another."""
    if path.startswith("tests/"):
        return []
    return [
        f"{path}:{node.lineno} imports {alias.name}, which is private to {node.module}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def breaches(path: str, source: str) -> list[str]:
    rules = (import_breaches, core_breaches, sleep_breaches, private_breaches)
    return [breach for rule in rules for breach in rule(path, source)]


def source_files() -> list[Path]:
    folders = [*OURS, "sd-scripts", "tests"]
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_the_tree_keeps_the_rules() -> None:
    files = source_files()
    assert {path.relative_to(ROOT).parts[0] for path in files} >= {*OURS, "sd-scripts"}
    found = [breach for path in files for breach in breaches(str(path.relative_to(ROOT)), path.read_text())]
    assert not found, "\n".join(found)


def test_the_files_that_rules_name_exist() -> None:
    named = [name for rule in RULES for name in (*rule.folders, *rule.but) if name.endswith(".py")]
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("path", "source", "told"),
    [
        ("fluxgym/x.py", "import fluxgymd", "imports fluxgymd, but fluxgym/ is"),
        ("fluxgymd/x.py", "from fluxgymctl import main", "imports fluxgymctl.main, but the daemon knows no client"),
        ("fluxgymctl/x.py", "from fluxgymd.core import job", "imports fluxgymd.core.job, but a client"),
        ("fluxgymctl/x.py", "def f():\n    import fluxgymweb", "x.py:2 imports fluxgymweb, but a client"),
        ("fluxgymweb/x.py", "import fluxgymctl.prose.words", "imports fluxgymctl.prose.words, but a client"),
        (
            "sd-scripts/x.py",
            "from fluxgym.protocol.messages import Job",
            "imports fluxgym.protocol.messages, but the trainer",
        ),
        ("tests/sd_scripts/x.py", "import fluxgym", "imports fluxgym, but the trainer"),
        ("fluxgymd/x.py", "from library import lora", "imports library, but nobody imports the trainer"),
        ("fluxgymd/x.py", "import flux_train_network", "but nobody imports the trainer"),
        ("fluxgymctl/x.py", "import torch.nn", "imports torch.nn, but torch and its kin"),
        ("fluxgymd/attempts/scope.py", "from gi.repository import GLib", "but one module alone talks to D-Bus"),
        ("fluxgymd/x.py", "import pydbus", "but one module alone talks to D-Bus"),
        ("fluxgymd/attempts/shim.py", "import msgspec", "imports msgspec, but the shim"),
        ("fluxgymd/background/tied.py", "from fluxgymd.background import helpers", "but the shim and the launcher"),
        ("fluxgymd/attempts/shim.py", "from fluxgym import names", "imports fluxgym.names, but the shim"),
        ("fluxgymd/run/x.py", "from fluxgymd.trainers import kohya", "a trainer stands behind its port"),
        ("fluxgymd/daemon.py", "from fluxgymd.trainers.ours import OurTrainer", "a trainer stands behind its port"),
        (
            "sd-scripts/library/flow/x.py",
            "from library.flux import model",
            "a family of models stands behind its port",
        ),
        ("sd-scripts/library/x.py", "from library import flux", "a family of models stands behind its port"),
        ("sd-scripts/library/flux/x.py", "from library import families", "what every family shares knows neither"),
        ("fluxgymd/core/x.py", "import os", "imports os, but the core"),
        ("fluxgymd/core/x.py", "from time import monotonic", "imports time, but the core"),
        ("fluxgymd/core/x.py", "from fluxgymd.store import journal", "imports fluxgymd.store.journal, but the core"),
        (
            "fluxgymd/core/x.py",
            "from fluxgym.protocol.client import Client",
            "imports fluxgym.protocol.client, but the core",
        ),
        (
            "fluxgymd/core/x.py",
            "from fluxgym.protocol import client",
            "imports fluxgym.protocol.client, but the core",
        ),
        ("fluxgymd/core/x.py", "from . import job", "imports ., but the core"),
        ("fluxgymd/core/x.py", "open('f')", "calls open(), but the core does no I/O"),
        ("fluxgymd/core/x.py", "import pathlib\npathlib.Path('f')", "uses Path, which does I/O"),
        ("fluxgymd/x.py", "from tests.harness import waiting", "but no program imports a test"),
        (
            "fluxgymctl/x.py",
            "from fluxgym.toml import _parse",
            "imports _parse, which is private to fluxgym.toml",
        ),
        ("tests/jobs/x.py", "from tests.jobs.test_view import shown", "but no test imports another"),
        ("tests/jobs/x.py", "from tests.jobs import test_view", "but no test imports another"),
        ("tests/x.py", "import time\ntime.sleep(1)", "tests/x.py:2 sleeps"),
        ("tests/x.py", "import asyncio\nasync def f():\n    await asyncio.sleep(0.1)", "tests/x.py:3 sleeps"),
    ],
)
def test_a_broken_rule_is_found(path: str, source: str, told: str) -> None:
    found = breaches(path, source)
    assert any(told in breach for breach in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("fluxgymd/host/bus.py", "import pydbus\nfrom gi.repository import GLib"),
        (
            "fluxgymd/core/x.py",
            "import re\nimport msgspec\nfrom fluxgymd.core import events\nfrom pathlib import PurePath",
        ),
        ("fluxgymd/core/x.py", "from fluxgym import names"),
        ("sd-scripts/library/families.py", "from library.flux.base_model import Flux1"),
        ("sd-scripts/library/flux/x.py", "from library.flux import model"),
        ("fluxgymctl/x.py", "import click\nfrom fluxgym.protocol.client import Client\nfrom fluxgymctl import words"),
        ("tests/x.py", "import asyncio\nasync def f():\n    await asyncio.sleep(0)"),
        ("tests/harness/waiting.py", "import time\ntime.sleep(1)"),
        ("tests/x.py", "from fluxgym.toml import _parse"),
    ],
)
def test_what_is_allowed_is_not_refused(path: str, source: str) -> None:
    assert breaches(path, source) == []
