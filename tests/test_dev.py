# SPDX-License-Identifier: Apache-2.0
"""Tests of what `./dev` does before any of its commands, of the demo's dataset, and of how `.ci/run` runs
`./dev test`."""

from __future__ import annotations

import json
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
from tests.harness.waiting import DEADLINE_SECONDS, until


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
        ("demo --opne", "demo takes no argument but --open, and got: --opne"),
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
"watch demo") if [ -e endless ]; then exec tail -f /dev/null; fi ;;
"list --json") cat jobs 2>/dev/null || true ;;
"web url") echo "http://127.0.0.1:$(cat "$XDG_STATE_HOME/fluxgym/web/address")/enter" ;;
esac
"""
DAEMON = f"""#!{sys.executable}
import os, signal, socket
asked = open(os.environ["FLUXGYM_HOME"] + "/asked", "a", buffering=1)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: print("daemon got", number, file=asked))
listening = socket.socket(socket.AF_UNIX)
listening.bind(os.environ["FLUXGYM_SOCKET"])
signal.pause()
"""
WEB = f"""#!{sys.executable}
import os, pathlib, signal, sys
asked = open(os.environ["FLUXGYM_HOME"] + "/asked", "a", buffering=1)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: print("web got", number, file=asked))
folder = pathlib.Path(os.environ["XDG_STATE_HOME"], "fluxgym/web")
folder.mkdir(parents=True)
(folder / "address").write_text(sys.argv[2])
signal.pause()
"""
PYTHON = """#!/bin/sh
case $1 in *.py) mkdir "$2" ;; esac
"""
NO_USER_MANAGER = "#!/bin/sh\nexit 1\n"


class Demo:
    """A checkout with programs that pretend."""

    def __init__(self, checkout: Path, root: Path) -> None:
        self.root = root
        self.told = root / "told"
        for name in ("demo", "datasets", "sd-scripts/tiny", "bin", ".venv/bin", ".venv-trainer/bin"):
            (root / name).mkdir(parents=True)
        for name in ("dev", "pyproject.toml"):
            shutil.copy(checkout / name, root / name)
        for name in ("demo/make_pictures.py", "sd-scripts/make_tiny_flux.py", "sd-scripts/tiny/parts.py"):
            (root / name).touch()
        for name, text in (
            (".venv/bin/fluxgymctl", CTL),
            (".venv/bin/fluxgymd", DAEMON),
            (".venv/bin/fluxgymweb", WEB),
            (".venv/bin/python", PYTHON),
            (".venv-trainer/bin/python", PYTHON),
            ("bin/systemctl", NO_USER_MANAGER),
            ("bin/xdg-open", NO_USER_MANAGER),
        ):
            (root / name).write_text(text)
            (root / name).chmod(0o755)

    def start(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts the demo on a machine without a desktop, unless `environment` says otherwise."""
        (self.root / "asked").write_text("")
        desktops = ("DISPLAY", "WAYLAND_DISPLAY")
        inherited = {name: value for name, value in os.environ.items() if name not in desktops}
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        with self.told.open("wb") as told:
            return subprocess.Popen(
                [self.root / "dev", "demo", *options],
                env={**inherited, "PATH": path, **environment},
                stdout=subprocess.DEVNULL,
                stderr=told,
                start_new_session=True,
            )

    def asked(self) -> list[str]:
        """What was asked of the daemon about datasets and jobs, and the signals that it got."""
        asked = (self.root / "asked").read_text().splitlines()
        return [words for words in asked if words not in ("status demo", "dataset show demo", "list --json")]

    def run(self) -> tuple[int, list[str]]:
        """The exit status of a demo, and what it asked."""
        status = self.start().wait(DEADLINE_SECONDS)
        return status, self.asked()


@pytest.fixture
def demo(checkout: Path, tmp_path: Path) -> Demo:
    return Demo(checkout, tmp_path)


DATASET = ["dataset create demo", "dataset add demo demo/pictures"]
TRAINING = ["submit demo --file demo/demo.toml", "watch demo"]
END = [f"daemon got {signal.SIGTERM:d}"]


def test_the_demo_makes_its_dataset_once_and_again_when_its_pictures_change(checkout: Path, demo: Demo) -> None:
    assert tomllib.loads((checkout / "demo/demo.toml").read_text(encoding="utf-8"))["dataset"] == "demo"
    assert demo.run() == (0, [*DATASET, *TRAINING, *END])
    assert demo.run() == (0, [*TRAINING, *END])
    (demo.root / "demo/make_pictures.py").write_text("# others\n")
    (demo.root / "full").touch()
    again = ["dataset rm demo", *DATASET]
    assert demo.run() == (1, [*again, *END])
    (demo.root / "full").unlink()
    assert demo.run() == (0, [*again, *TRAINING, *END])
    assert demo.run() == (0, [*TRAINING, *END])


def test_a_demo_that_is_interrupted_at_the_terminal_stops_its_job_before_its_daemon(demo: Demo) -> None:
    (demo.root / "endless").touch()
    running = demo.start()
    until(lambda: TRAINING[-1] in demo.asked(), what="the training")
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(DEADLINE_SECONDS) == 128 + signal.SIGINT
    assert demo.asked() == [*DATASET, *TRAINING, "stop demo", "wait demo", *END]


def test_without_a_page_the_demo_mentions_it(demo: Demo) -> None:
    assert demo.run()[0] == 0
    assert demo.told.read_text().endswith("run ./dev demo --open\n")


@pytest.mark.parametrize(
    ("desktop", "opens"),
    [({}, []), ({"DISPLAY": ":0"}, ["web open"]), ({"WAYLAND_DISPLAY": "wayland-0"}, ["web open"])],
)
def test_the_demos_page_stays_until_it_is_interrupted_and_leaves_no_job_and_no_process(
    demo: Demo, desktop: dict[str, str], opens: list[str]
) -> None:
    jobs = demo.root / "jobs"
    jobs.write_text(job("waits", "queued"))
    running = demo.start("--open", **desktop)
    until(lambda: "until you press Ctrl-C" in demo.told.read_text(), what="the end of the training")
    assert "dev: the training in a browser: http://127.0.0.1:" in demo.told.read_text()
    begun = [job("newer", "queued"), job("again", "running")]
    jobs.write_text("".join([*begun, job("demo", "completed"), job("waits", "queued")]))
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(DEADLINE_SECONDS) == 0
    ends = ["stop newer again", "wait newer again", f"web got {signal.SIGTERM:d}", *END]
    assert demo.asked() == [*DATASET, "web url", *opens, *TRAINING, *ends]


def test_a_demo_whose_page_is_open_can_be_interrupted_during_the_training(demo: Demo) -> None:
    (demo.root / "endless").touch()
    running = demo.start("--open")
    until(lambda: TRAINING[-1] in demo.asked(), what="the training")
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(DEADLINE_SECONDS) == 128 + signal.SIGINT
    ends = ["stop demo", "wait demo", f"web got {signal.SIGTERM:d}", *END]
    assert demo.asked() == [*DATASET, "web url", *TRAINING, *ends]


def job(name: str, state: str) -> str:
    """A line of `list --json`."""
    return json.dumps({"context": {"name": name}, "runtime": {"state": state}}) + "\n"


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
