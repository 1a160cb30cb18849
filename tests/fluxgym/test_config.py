# SPDX-License-Identifier: Apache-2.0
"""The configuration: which source takes precedence, and how a wrong value is refused."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxgym import config, paths
from fluxgym.errors import ConfigInvalid
from tests.fluxgym.broken_toml import BROKEN


def make_large(file: Path) -> None:
    file.touch()
    os.truncate(file, 1 << 30)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "etc"), "XDG_RUNTIME_DIR": "/run/user/1"}


def write(environ: dict[str, str], text: str) -> Path:
    file = paths.config_file(environ)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_without_any_setting_the_defaults_apply(environ: dict[str, str], tmp_path: Path) -> None:
    loaded = config.load(environ)
    assert loaded.home == tmp_path / ".local/share/fluxgym"
    assert loaded.socket == Path("/run/user/1/fluxgym/fluxgymd.sock")
    assert {value.source for value in loaded.values.values()} == {"default"}
    assert set(loaded.values) == {setting.key for setting in config.SETTINGS}


def test_a_flag_overrides_the_environment_which_overrides_the_file_which_overrides_the_default(
    environ: dict[str, str],
) -> None:
    def home() -> tuple[str, str]:
        value = config.load(environ, flags).values["home"]
        return str(value.value), value.source

    flags: dict[str, str | None] = {"home": None}
    file = write(environ, '# mine\n\nhome = "/file"\n')
    assert home() == ("/file", f"{file}, line 3")
    environ["FLUXGYM_HOME"] = "/environment"
    assert home() == ("/environment", "FLUXGYM_HOME")
    flags["home"] = "/flag"
    assert home() == ("/flag", "--home")


LATIN = "/h\udce9"
"""How Python represents the path of a folder that is named é in Latin-1."""


@pytest.mark.parametrize("key", ["home", "socket", "trainer.path", "trainer.python"])
def test_a_path_that_is_not_utf_8_is_refused_wherever_it_comes_from(environ: dict[str, str], key: str) -> None:
    variable = next(setting.variable for setting in config.SETTINGS if setting.key == key)
    right = rf"{key} is /h\xe9, which is not UTF-8; rename it, or set {variable} to a path that is."
    with pytest.raises(ConfigInvalid, match=re.escape(f"--{key}: {right}")):
        config.load(environ, {key: LATIN})
    with pytest.raises(ConfigInvalid, match=re.escape(f"{variable}: {right}")):
        config.load(environ | {variable: LATIN})


def test_a_default_that_is_not_utf_8_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(
        ConfigInvalid, match=re.escape(r"The default of home is /h\xe9/.local/share/fluxgym, which is")
    ):
        config.load(environ | {"HOME": LATIN})


def test_an_empty_variable_is_no_value(environ: dict[str, str]) -> None:
    assert config.load({**environ, "FLUXGYM_HOME": ""}).values["home"].source == "default"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('supervisor = "docker"', 1, "supervisor is 'docker', but must be one of auto, scope, process"),
        ("[stop]\nlimit_seconds = 0", 2, "stop.limit_seconds is 0, but must be a number from 1 to 3600 (seconds)"),
        ("log.limit_mib = 1", 1, "log.limit_mib is 1, but must be a number from 16 to 100000 (MiB)"),
        ('log.limit_mib = "1 GiB"', 1, "must be a number from 16 to 100000 (MiB)"),
        ("\nstop.limit_seconds = true", 2, "must be a number from 1 to 3600 (seconds)"),
        ("[stop]\n# half a minute\nlimit_seconds = 'x'", 3, "must be a number"),
        ("[stop]\nlimit_seconds = nan", 2, "must be a number"),
        ("[queue]\nprogram_slots = 0", 2, "queue.program_slots is 0, but must be a whole number from 1 to 64"),
        ("queue.program_slots = 65", 1, "must be a whole number from 1 to 64"),
        ("queue.program_slots = 1.5", 1, "must be a whole number from 1 to 64"),
        ("queue.program_slots = true", 1, "must be a whole number from 1 to 64"),
        ("queue.program_slots = '²'", 1, "must be a whole number from 1 to 64"),
        ("home = 5", 1, "home is 5, but must be a path in quotes"),
        ('home = ""', 1, "must be a path in quotes"),
        (r'home = "/tmp/a\u0000b"', 1, r"home is '/tmp/a\x00b', but must be a path without a NUL character"),
        (f"stop.limit_seconds = 1{'0' * 400}", 1, "must be a number from 1 to 3600 (seconds)"),
        (f"queue.program_slots = 1{'0' * 400}", 1, "must be a whole number from 1 to 64"),
        (f"queue.program_slots = '{'1' * 5000}'", 1, "must be a whole number from 1 to 64"),
        ('\n\nhoem = "/x"', 3, "there is no setting hoem; did you mean home?"),
        ('[trainer]\npyton = "/x"', 2, "there is no setting trainer.pyton; did you mean trainer.python?"),
        ('[[trainer]]\nx = "/x"', 1, "there is no setting trainer;"),
        ("zzz = 1", 1, "there is no setting zzz; the settings are home, socket,"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place_and_what_would_be_right(
    environ: dict[str, str], text: str, line: int, says: str
) -> None:
    file = write(environ, text)
    with pytest.raises(ConfigInvalid) as refusal:
        config.load(environ)
    assert refusal.value.message.startswith(f"{file}, line {line}: ")
    assert says in refusal.value.message
    assert refusal.value.exit_status == 2


def test_a_wrong_variable_is_refused_by_its_name(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match=r"^FLUXGYM_STOP_LIMIT_SECONDS: stop.limit_seconds is 'soon', but must"):
        config.load({**environ, "FLUXGYM_STOP_LIMIT_SECONDS": "soon"})


@pytest.mark.parametrize(
    ("text", "variable", "slots"), [("", "", 2), ("queue.program_slots = 7", "", 7), ("", "64", 64)]
)
def test_the_number_of_program_slots_can_be_set(
    environ: dict[str, str], text: str, variable: str, slots: int
) -> None:
    write(environ, text)
    assert config.load({**environ, "FLUXGYM_QUEUE_PROGRAM_SLOTS": variable}).program_slots == slots


def test_the_home_of_a_user_who_does_not_exist_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(
        ConfigInvalid, match="--home: home is '~no-such-user/x', but must be a path; there is no such user"
    ):
        config.load(environ, {"home": "~no-such-user/x"})


def test_a_file_that_is_not_toml_is_refused_with_the_line(environ: dict[str, str]) -> None:
    write(environ, "home = \n")
    with pytest.raises(ConfigInvalid, match=r"is not valid TOML: .*line 1"):
        config.load(environ)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_whatever_breaks_the_parser_is_refused_with_the_file(environ: dict[str, str], text: str) -> None:
    file = write(environ, text)
    with pytest.raises(ConfigInvalid, match=f"^{re.escape(str(file))} is not valid TOML") as refusal:
        config.load(environ)
    assert refusal.value.message.count("\n") == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "it is a FIFO, not a regular file"),
        (Path.mkdir, "it is a directory, not a regular file"),
        (lambda file: file.symlink_to("nowhere"), "it is a link to a file that does not exist, not a regular file"),
        (make_large, "it has 1073741824 bytes"),
    ],
    ids=["FIFO", "directory", "dangling link", "1 GiB"],
)
def test_a_path_that_is_not_a_file_is_refused_and_not_waited_for(
    environ: dict[str, str], make: Callable[[Path], object], says: str
) -> None:
    file = write(environ, "")
    file.unlink()
    make(file)
    with pytest.raises(ConfigInvalid, match=f"^{re.escape(str(file))} cannot be read: {says}"):
        config.load(environ)


def test_a_link_to_a_file_elsewhere_is_followed(environ: dict[str, str], tmp_path: Path) -> None:
    file = write(environ, "queue.program_slots = 7")
    file.rename(tmp_path / "dotfiles.toml")
    file.symlink_to(tmp_path / "dotfiles.toml")
    assert config.load(environ).program_slots == 7


def test_a_file_that_is_not_utf8_is_refused(environ: dict[str, str]) -> None:
    write(environ, "").write_bytes(b'home = "\xff"')
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        config.load(environ)


def test_a_socket_path_that_the_kernel_cannot_take_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match="longer than 107 bytes"):
        config.load({**environ, "FLUXGYM_SOCKET": "/tmp/" + "x" * 103})
    assert config.load({**environ, "FLUXGYM_SOCKET": "/tmp/" + "x" * 102}).socket.name == "x" * 102


def test_the_limit_counts_bytes_and_not_characters(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match="longer than 107 bytes"):
        config.load({**environ, "FLUXGYM_SOCKET": "/tmp/" + "é" * 60})


def test_each_setting_has_a_variable_of_its_own_and_help() -> None:
    assert len({setting.variable for setting in config.SETTINGS}) == len(config.SETTINGS)
    for setting in config.SETTINGS:
        assert setting.variable == "FLUXGYM_" + setting.key.upper().replace(".", "_")
        assert setting.help
