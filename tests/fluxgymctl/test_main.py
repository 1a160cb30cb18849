# SPDX-License-Identifier: Apache-2.0
"""The client around its verbs, run as a program: errors, exit statuses, and imported modules."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

import fluxgymctl.datasets
import fluxgymctl.machine
import fluxgymctl.records
import fluxgymctl.verbs
from fluxgym import errors
from fluxgymctl.machine import config
from fluxgymctl.main import OF_RECORDS, OF_THE_MACHINE, VERBS, program
from fluxgymctl.verbs import dataset
from tests.fluxgymctl.program import ctl, on_terminal
from tests.harness.waiting import DEADLINE_SECONDS

DATASET_VERBS = [(dataset.command, verb) for verb in dataset.VERBS]
PACKAGES = ("fluxgymctl.verbs.", "fluxgymctl.machine.", "fluxgymctl.records.", "fluxgymctl.datasets.")
LIGHT_MODULES = ("asyncio", "subprocess", "importlib.resources", "PIL", "psutil", "pydbus", "gi", "fluxgymd", "rich")


def test_each_verb_is_a_file_and_each_file_a_verb() -> None:
    assert files(fluxgymctl.verbs) == set(VERBS) - OF_THE_MACHINE - OF_RECORDS
    assert files(fluxgymctl.records) == OF_RECORDS
    assert files(fluxgymctl.machine) == OF_THE_MACHINE
    assert files(fluxgymctl.datasets) - {"changing"} == set(dataset.VERBS)


def files(package: ModuleType) -> set[str]:
    return {file.stem for file in Path(package.__path__[0]).glob("*.py")} - {"__init__"}


@pytest.mark.parametrize(("group", "verb"), [*((program, verb) for verb in VERBS), *DATASET_VERBS])
def test_each_verb_has_its_name_help_and_the_common_options(group: click.Group, verb: str) -> None:
    with click.Context(group) as context:
        command = group.get_command(context, verb)
    assert command is not None
    assert command.name == verb
    assert command.help
    assert {"socket", "json"} <= {parameter.name for parameter in command.params}


HELPS = [
    *("", *VERBS, "daemon start", "daemon stop", "daemon restart"),
    *("preset list", "preset show", "preset save", "preset rm"),
    *(f"dataset {verb}" for verb in dataset.VERBS),
]


@pytest.mark.parametrize("words", HELPS)
def test_each_help_ends_with_examples_that_work_as_written_and_with_the_exit_statuses(
    words: str, tmp_path: Path
) -> None:
    (tmp_path / "cat.toml").touch()
    shown = ctl(*words.split(), "--help").stdout
    _, found, rest = shown.partition("\n  Examples:\n")
    examples, _, statuses = rest.partition("\n\n")
    assert found
    assert " ".join(statuses.split()).startswith("Exit status: 0 ")
    assert "6 no daemon, 130 interrupted" in " ".join(statuses.split())
    for example in examples.splitlines():
        program, *typed = shlex.split(example)
        assert program == "fluxgymctl"
        assert " ".join(typed).startswith(words)
        # An example fails only because no daemon answers, or because the socket isn't the installed daemon's.
        needs_none = typed[0] == "config" or typed[:2] in (["web", "open"], ["web", "url"])
        right = 0 if needs_none else 1 if typed[0] in ("daemon", "web") and len(typed) > 1 else 6
        done = ctl(*typed, cwd=tmp_path, XDG_STATE_HOME=str(tmp_path / "state"))
        assert done.returncode == right, done.stderr


def test_a_verb_imports_neither_the_other_verbs_nor_heavy_modules() -> None:
    code = (
        "import sys; from fluxgymctl.main import main; main(['list']);"
        "print(*(name for name in sys.modules if name.startswith('fluxgym') or name in sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *LIGHT_MODULES],
        env={"PATH": os.environ["PATH"], "FLUXGYM_SOCKET": "/nonexistent/s"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    loaded = set(done.stdout.split())
    verbs = {name for name in loaded if name.startswith(PACKAGES)}
    assert verbs == {"fluxgymctl.verbs.list"}
    assert loaded & set(LIGHT_MODULES) == set()


def test_the_help_lists_the_exit_status_of_every_error() -> None:
    statuses = " ".join(ctl("--help").stdout.split("Exit status:")[1].split())
    said = {int(number) for number in re.findall(r"\b(\d+) [a-z]", statuses)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {value.exit_status for value in classes if issubclass(value, errors.FluxgymError)} <= said


def test_without_arguments_the_help_is_shown() -> None:
    done = ctl()
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["lst"], 2, "There is no verb lst; did you mean list?"),
        (["xyzzy"], 2, "There is no verb xyzzy; the verbs are submit, edit, list,"),
        (["list", "--limt", "3"], 2, "--limit"),
        (["list", "--limit", "0"], 2, "--limit is '0', but must be a whole number of at least 1."),
        (
            ["logs", "a", "-n", "x"],
            2,
            "--lines is 'x', but must be a whole number of at least 1.",
        ),
        (["status"], 2, "Missing argument 'NAME'. Usage: fluxgymctl status [OPTIONS] NAME"),
        (["submit", "a", "--epochs", "many"], 2, "--epochs is 'many', but must be a whole number."),
        (["submit", "a", "--learning-rate", "nan"], 2, "--learning-rate is 'nan', but must be a number."),
        (["submit", "a", "--dataset", ""], 2, "--dataset is '', but must be a path."),
        (["submit", "a", "--watchdog", "kill"], 2, "--watchdog is 'kill', but must be one of off, warn, act."),
        (["submit", "a", "--watchdog-limit", "step_factor"], 2, "'step_factor', but must be NAME=VALUE."),
        (["submit", "a", "--watchdog-limit", "step_facto=2"], 2, "did you mean step_factor?"),
        (["submit", "a", "--watchdog-limit", "step_factor=0"], 2, "step_factor is '0', but must be a number from 1"),
        (["submit", "a", "--watchdog-limit", "step_factor=x"], 2, "step_factor is 'x', but must be a number from 1"),
        (["submit", "a", "--epocs", "3"], 2, "--epochs"),
        (["submit", "a", "-o", "x="], 2, "write x for a switch"),
        (["submit", "a", "--file", "/nonexistent/a.toml"], 2, "/nonexistent/a.toml cannot be read: No such file"),
        (["submit"], 2, "The job has no name;"),
        (["submit", "a", "b"], 2, "Got unexpected extra argument (b)"),
        (["submit", "a", "--"], 2, "-- must be followed by a program and its arguments."),
        (["submit", "a", "--", "no-such-program"], 2, "There is no program 'no-such-program' on PATH;"),
        (["submit", "a", "--gpus", "0,1"], 2, "--gpus is '0,1', but must be a whole number."),
        (["submit", "a", "--restart", "always"], 2, "must be one of never, on_interruption, on_failure."),
        (["edit", "a"], 2, "There is nothing to change;"),
        (["move"], 2, "Missing argument 'NAME'"),
        (["list"], 6, "No daemon answers at /nonexistent/s (No such file or directory);"),
        (["logs", "a", "-f"], 6, "No daemon answers"),
        (["watch", "a"], 6, "No daemon answers"),
        (["wait", "a"], 6, "No daemon answers"),
        (["stop", "a", "b"], 6, "No daemon answers"),
        (["daemon"], 6, "No daemon answers"),
        (["daemon", "stop"], 1, "acts on the installed daemon"),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_a_status(words: list[str], status: int, says: str) -> None:
    done = ctl(*words)
    assert done.returncode == status
    assert says in done.stderr
    assert done.stderr.startswith("fluxgymctl: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_socket_path_that_is_too_long_is_refused() -> None:
    done = ctl("list", socket="/" + "x" * 200)
    assert done.returncode == 2
    assert "longer than 107 bytes" in done.stderr


def test_a_socket_without_a_listener_counts_as_no_daemon(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    done = ctl("list", socket=tmp_path / "s")
    assert done.returncode == 6
    assert "Connection refused" in done.stderr


def test_the_default_socket_folder_is_refused_if_others_may_write_to_it(tmp_path: Path) -> None:
    (tmp_path / "fluxgym").mkdir()
    (tmp_path / "fluxgym").chmod(0o777)
    done = ctl("list", socket="", XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "other users can write to it" in done.stderr


def test_the_options_may_come_before_the_verb_or_after_it() -> None:
    for words in (
        ["--socket", "/a/b", "list"],
        ["list", "--socket", "/a/b"],
        ["--socket", "/x", "list", "--socket", "/a/b"],
    ):
        assert "No daemon answers at /a/b " in ctl(*words).stderr


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        done = ctl("status", b"a\xff", socket=tmp_path / "s")
    assert done.returncode == 2
    assert done.stderr == "fluxgymctl: a\\xff is not UTF-8, and the daemon accepts only names and paths that are.\n"


def test_a_reader_that_goes_away_is_not_reported_as_an_error() -> None:
    command = f"{sys.executable} -m fluxgymctl config --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize("buffered", [True, False])
def test_a_full_disk_under_the_output_is_reported(buffered: bool) -> None:
    python = sys.executable if buffered else f"{sys.executable} -u"
    command = f"unset PYTHONUNBUFFERED; {python} -m fluxgymctl config > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (done.returncode, done.stderr) == (1, "fluxgymctl: The output: No space left on device.\n")
    both = subprocess.run(["bash", "-c", f"{command} 2>&1"], timeout=DEADLINE_SECONDS)
    assert both.returncode == 1, "nobody can be told, and the exit status is the same"


def test_a_closed_output_does_no_harm() -> None:
    command = f"{sys.executable} -m fluxgymctl config >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")


def test_config_shows_each_value_and_its_source(tmp_path: Path) -> None:
    file = tmp_path / "fluxgym/config.toml"
    file.parent.mkdir()
    file.write_text('supervisor = "process"\n', encoding="utf-8")
    done = ctl("config", XDG_CONFIG_HOME=str(tmp_path), FLUXGYM_HOME="/somewhere")
    assert done.returncode == 0, done.stderr
    cells = {line.split()[0]: re.split(r"  +", line)[1:3] for line in done.stdout.splitlines()[1:]}
    assert cells["home"] == ["/somewhere", "FLUXGYM_HOME"]
    assert cells["supervisor"] == ["process", f"{file}, line 1"]
    assert cells["stop.limit_seconds"] == ["90", "default"]


@pytest.mark.parametrize("columns", [10, 80, 132])
def test_config_cuts_nothing_off_on_a_narrow_terminal(tmp_path: Path, columns: int) -> None:
    whole = ctl("config").stdout.splitlines()
    status, seen = on_terminal(["config"], socket=tmp_path / "none", columns=columns)
    assert status == 0
    assert "..." not in seen
    said = " ".join(seen.split())
    for line in whole[1:]:
        setting, *_, about = re.split(r"  +", line)
        assert f"{setting} = " in said
        assert about in said
    helps = [line for line in seen.splitlines() if line.startswith(config.INDENT)]
    assert all(len(line) <= columns or len(line.split()) == 1 for line in helps)


def test_config_is_a_table_on_a_wide_terminal(tmp_path: Path) -> None:
    status, seen = on_terminal(["config"], socket=tmp_path / "none", columns=400)
    assert status == 0
    assert [line.split()[0] for line in seen.splitlines()] == [
        line.split()[0] for line in ctl("config").stdout.splitlines()
    ]
