# SPDX-License-Identifier: Apache-2.0
"""Tests of what `./dev` does before any of its commands, of the demo's dataset, and of how `.ci/run` runs
`./dev test`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.harness.signals import SHOW_IGNORED, ignoring, numbers
from tests.harness.waiting import DEADLINE_SECONDS


def test_its_processes_can_be_interrupted_even_if_it_was_started_with_signals_ignored(
    checkout: Path, tmp_path: Path
) -> None:
    # `./dev --help` starts cat; this cat prints the signals that it inherits as ignored.
    cat = tmp_path / "cat"
    cat.write_text(f"#!/bin/sh\nexec {shlex.join(SHOW_IGNORED)}\n")
    cat.chmod(0o755)
    shown = subprocess.run(
        ignoring("HUP INT QUIT PIPE", [checkout / "dev", "--help"]),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    ).stdout
    found = numbers(shown, "SigIgn")
    assert not found & {signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE}
    assert signal.SIGHUP in found, "nohup would not work"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("test tests/test_dev.py", "put -- before the arguments for pytest."),
        ("test --changed main work", "--changed takes one commit at most, but got: main work"),
        ("lint --fix", "lint takes no arguments, but got: --fix"),
        ("tset", "there is no command tset."),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_created(checkout: Path, words: str, told: str) -> None:
    refused = subprocess.run(
        [checkout / "dev", *words.split()], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert refused.returncode != 0
    assert refused.stderr.startswith(f"dev: {told}\n")


# The programs that the demo runs, at no cost: the dataset is a folder, and the training ends at once.
CTL = """#!/bin/sh
echo "$*" >>"$FLUXGYM_HOME/asked"
case "$1 $2" in
"status demo") exit 3 ;;
"dataset show") [ -d datasets/demo ] ;;
"dataset create") mkdir datasets/demo ;;
"dataset rm") rmdir datasets/demo ;;
"dataset add") [ -d demo/pictures ] && ! [ -e full ] ;;
esac
"""
DAEMON = f"""#!{sys.executable}
import os, signal, socket
listening = socket.socket(socket.AF_UNIX)
listening.bind(os.environ["FLUXGYM_SOCKET"])
signal.pause()
"""
PYTHON = """#!/bin/sh
case $1 in *.py) mkdir "$2" ;; esac
"""
NO_USER_MANAGER = "#!/bin/sh\nexit 1\n"


def test_the_demo_makes_its_dataset_once_and_again_when_its_pictures_change(checkout: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    pictures = root / "demo/make_pictures.py"
    for name in ("dev", "pyproject.toml"):
        root.mkdir(exist_ok=True)
        shutil.copy(checkout / name, root / name)
    for name in ("demo/make_pictures.py", "sd-scripts/make_tiny_flux.py", "sd-scripts/tiny/parts.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "datasets").mkdir()
    for name, text in (
        (".venv/bin/fluxgymctl", CTL),
        (".venv/bin/fluxgymd", DAEMON),
        (".venv/bin/python", PYTHON),
        (".venv-trainer/bin/python", PYTHON),
        ("bin/systemctl", NO_USER_MANAGER),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755)

    def asked() -> tuple[int, list[str]]:
        """The exit status of a demo, and what it did with datasets and jobs."""
        (root / "asked").unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
        ran = subprocess.run([root / "dev", "demo"], env=environment, capture_output=True, timeout=DEADLINE_SECONDS)
        told = (root / "asked").read_text().splitlines()
        return ran.returncode, [words for words in told if words not in ("status demo", "dataset show demo")]

    dataset = tomllib.loads((checkout / "demo/demo.toml").read_text(encoding="utf-8"))["dataset"]
    made = [f"dataset create {dataset}", f"dataset add {dataset} demo/pictures"]
    trained = ["submit demo --file demo/demo.toml", "watch demo"]
    assert asked() == (0, [*made, *trained])
    assert asked() == (0, trained)
    pictures.write_text("# others\n")
    (root / "full").touch()
    again = [f"dataset rm {dataset}", *made]
    assert asked() == (1, again)
    (root / "full").unlink()
    assert asked() == (0, [*again, *trained])
    assert asked() == (0, trained)


def test_ci_runs_the_test_command_with_an_empty_home_without_caches_and_environments(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(checkout / ".ci/run", tmp_path / ".ci/run")
    dev = tmp_path / "dev"
    dev.write_text(
        '#!/bin/sh\necho "$* $CI $HOME ${PIP_CACHE_DIR-none} ${XDG_CACHE_HOME-none}"\nls -A . "$HOME"; exit 7\n'
    )
    dev.chmod(0o755)
    for environment in (".venv", ".venv-trainer"):
        (tmp_path / environment).mkdir()
    ran = subprocess.run(
        [tmp_path / ".ci/run"],
        env={**os.environ, "PIP_CACHE_DIR": "/warm", "XDG_CACHE_HOME": "/warm"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    words, *files = ran.stdout.splitlines()
    command, ci, home, *caches = words.split()
    assert (ran.returncode, command, ci, caches) == (7, "test", "true", ["none", "none"])
    assert files == [".:", ".ci", "dev", "", f"{home}:"]
    assert not Path(home).exists()
