# SPDX-License-Identifier: Apache-2.0
"""Tests of `./dev test --changed`: which test files a change can reach, in a small tree and in this one."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from tests import changed
from tests.harness.reach import Tree, reached_by
from tests.harness.waiting import DEADLINE_SECONDS

SMALL = Tree(
    {
        "dev": "#!/bin/sh\nexec python -m fluxgymd\n",
        "docs/a.md": "",
        "fluxgym/__init__.py": "",
        "fluxgym/names.py": "",
        "fluxgym/interfaces/a.varlink": "",
        "fluxgymd/__init__.py": "",
        "fluxgymd/main.py": "from fluxgym import names",
        "fluxgymd/runner.py": "HELPER = 'fluxgymd.helper'",
        "fluxgymd/helper.py": "'''Mentions sd-scripts, but runs none of it.'''",
        "fluxgymctl/__init__.py": "",
        "fluxgymctl/main.py": "import fluxgym.names",
        "sd-scripts/train.py": "import library.loss",
        "sd-scripts/library/loss.py": "",
        "tests/__init__.py": "",
        "tests/conftest.py": "from tests.harness import bench",
        "tests/harness/__init__.py": "",
        "tests/harness/bench.py": "SAYS = 'this test needs root; `./dev test` takes sudo'",
        "tests/sd_scripts/conftest.py": "",
        "tests/sd_scripts/test_loss.py": "from library.loss import loss",
        "tests/sd_scripts/data/a.json": "",
        "tests/test_import.py": "import fluxgymd.runner",
        "tests/test_run.py": "COMMAND = [sys.executable, '-m', 'fluxgymd']",
        "tests/test_program.py": "PROGRAM = 'from fluxgymctl.main import main; main()'",
        "tests/test_shell.py": "SCRIPT = f'{home}/bin/fluxgymctl list | head'",
        "tests/test_trainer.py": "PATH = ROOT / 'sd-scripts' / 'train.py'",
        "tests/test_docs.py": "PAGE = ROOT / 'docs' / 'a.md'",
        "tests/test_dev.py": "COMMAND = [ROOT / 'dev', 'demo']",
        "tests/test_nothing.py": "'''Does not run fluxgymd.'''",
    }
)


@functools.cache
def this_tree() -> Tree:
    return changed.checkout_with([])


@pytest.mark.parametrize(
    ("file", "reached"),
    [
        ("fluxgymd/helper.py", {"tests/test_import.py", "tests/test_run.py", "tests/test_dev.py"}),
        ("fluxgymd/main.py", {"tests/test_run.py", "tests/test_dev.py"}),
        (
            "fluxgym/interfaces/a.varlink",  # belongs to the package around it
            {"tests/test_run.py", "tests/test_program.py", "tests/test_shell.py", "tests/test_dev.py"},
        ),
        ("fluxgymctl/main.py", {"tests/test_program.py", "tests/test_shell.py"}),
        ("sd-scripts/library/loss.py", {"tests/sd_scripts/test_loss.py", "tests/test_trainer.py"}),
        ("tests/sd_scripts/conftest.py", {"tests/sd_scripts/test_loss.py"}),
        ("tests/sd_scripts/data/a.json", {"tests/sd_scripts/test_loss.py"}),
        ("docs/a.md", {"tests/test_docs.py"}),
    ],
)
def test_a_change_reaches_the_tests_that_import_run_or_read_the_file(file: str, reached: set[str]) -> None:
    tests = [path for path in SMALL.texts if "/test_" in path]
    found = reached_by(SMALL, tests)
    assert {test for test in tests if file in found[test]} == reached


def test_the_test_bench_and_the_settings_reach_every_test() -> None:
    tests = [path for path in SMALL.texts if "/test_" in path]
    for file in ("tests/harness/bench.py", "tests/conftest.py", "dev"):
        assert changed.reachable(SMALL, [file]) == sorted(tests)


def test_a_file_of_unknown_use_reaches_every_test_and_no_change_reaches_none() -> None:
    tree = Tree({**SMALL.texts, "settings.ini": "", "notes.md": ""})
    assert changed.reachable(tree, ["settings.ini"]) == changed.reachable(tree, ["dev"])
    assert changed.reachable(tree, ["notes.md"]) == changed.reachable(tree, []) == []


@pytest.mark.parametrize(
    ("file", "test"),
    [
        ("sd-scripts/library/lora/lora.py", "tests/sd_scripts/lora/test_lora.py"),
        ("sd-scripts/library/lora/lora.py", "tests/daemon/test_first_light.py"),
        ("sd-scripts/make_tiny_flux.py", "tests/daemon/test_queue.py"),
        ("demo/make_pictures.py", "tests/daemon/test_resuming.py"),
        ("fluxgymd/core/schedule.py", "tests/core/test_schedule.py"),
        ("fluxgymd/core/schedule.py", "tests/daemon/test_queue.py"),
        ("fluxgymd/gpus/probe.py", "tests/gpus/test_machine.py"),
        ("fluxgymd/attempts/shim.py", "tests/attempts/test_contract.py"),
        ("fluxgymctl/verbs/list.py", "tests/fluxgymctl/test_verbs.py"),
        ("fluxgymctl/verbs/list.py", "tests/daemon/test_systems.py"),
        ("fluxgym/interfaces/org.fluxgym.Jobs.varlink", "tests/fluxgym/test_interfaces.py"),
        ("units/fluxgymd.service", "tests/test_units.py"),
        ("units/fluxgym.slice", "tests/daemon/test_user_manager.py"),
        ("docs/watchdog.md", "tests/traces/test_table.py"),
        ("docs/trainer.md", "tests/sd_scripts/test_docs.py"),
        ("tests/gpus/nvml/nvml.c", "tests/daemon/test_gpus.py"),
        ("bench/gpu_rows/rows.py", "tests/sd_scripts/test_trainer_gpu_bench.py"),
        ("README.md", "tests/test_linters.py"),
        ("fluxgymweb/ui/src/text.ts", "tests/test_page.py"),
        ("fluxgymweb/ui/build/page.ts", "tests/test_wheel.py"),
        ("fluxgym/interfaces/org.fluxgym.Jobs.varlink", "tests/test_page.py"),
    ],
)
def test_a_change_in_this_tree_reaches_these_tests(file: str, test: str) -> None:
    assert file in this_tree().texts
    assert test in changed.reachable(this_tree(), [file])


@pytest.mark.parametrize(
    ("file", "test"),
    [
        ("fluxgymctl/verbs/list.py", "tests/sd_scripts/lora/test_lora.py"),
        ("fluxgymctl/verbs/list.py", "tests/store/test_journal.py"),
        ("sd-scripts/library/lora/lora.py", "tests/core/test_schedule.py"),
        ("tests/daemon/running.py", "tests/store/test_journal.py"),
        ("docs/trainer.md", "tests/daemon/test_queue.py"),
    ],
)
def test_a_change_in_this_tree_does_not_reach_these_tests(file: str, test: str) -> None:
    assert {file, test} <= this_tree().texts.keys()
    assert test not in changed.reachable(this_tree(), [file])


def test_a_change_is_what_differs_in_the_working_tree_new_and_deleted_files_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, timeout=DEADLINE_SECONDS)

    monkeypatch.setattr(changed, "ROOT", tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    for name in ("kept", "deleted.py", "committed", "edited"):
        (tmp_path / name).write_text("")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    git("switch", "--quiet", "--create=work")
    (tmp_path / "committed").write_text("more")
    git("commit", "--quiet", "--all", "--message=second")
    (tmp_path / "edited").write_text("more")
    (tmp_path / "new").write_text("")
    (tmp_path / "deleted.py").unlink()
    assert changed.changed_since(changed.base()) == ["committed", "deleted.py", "edited", "new"]
    assert changed.changed_since("HEAD") == ["deleted.py", "edited", "new"]
    tree = changed.checkout_with(["deleted.py"])
    assert tree.texts["deleted.py"] == ""
    assert tree.texts["edited"] == "more"
