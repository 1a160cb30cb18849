# SPDX-License-Identifier: Apache-2.0
"""The paths of FluxGym's files, and that a socket's folder is refused if another user may have made it."""

import errno
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from fluxgym import paths
from fluxgym.errors import ConfigInvalid


def test_the_paths_follow_the_xdg_variables() -> None:
    environ = {"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s"}
    assert paths.config_file(environ) == Path("/c/fluxgym/config.toml")
    assert paths.default_home(environ) == Path("/d/fluxgym")
    assert paths.machine_state(environ) == Path("/s/fluxgym/machine")


def test_a_folder_for_the_machine_s_state_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(
        ConfigInvalid, match=r"/s\\xe9/fluxgym/machine, is not UTF-8; set XDG_STATE_HOME to one that is"
    ):
        paths.machine_state({"XDG_STATE_HOME": os.fsdecode(b"/s\xe9")})


def test_a_relative_xdg_variable_is_ignored_as_its_specification_says() -> None:
    assert paths.default_home({"HOME": "/h", "XDG_DATA_HOME": "data"}) == Path("/h/.local/share/fluxgym")


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_usable_home_the_users_password_entry_counts(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {} if home is None else {"HOME": home}
    entry = pwd.getpwuid(os.getuid()).pw_dir
    assert paths.default_home(environ) == Path(entry) / ".local/share/fluxgym"

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(ConfigInvalid, match=f"User {os.getuid()} has no home directory on this machine; set HOME"):
        paths.default_home(environ)


@pytest.mark.parametrize("runtime", ["", "run"])
def test_a_runtime_folder_that_is_not_an_absolute_path_is_ignored(runtime: str) -> None:
    assert paths.default_socket({"XDG_RUNTIME_DIR": runtime}) == paths.default_socket({})


def test_without_any_temporary_folder_the_socket_needs_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ConfigInvalid, match=r"There is no folder for the socket: .* set FLUXGYM_SOCKET"):
        paths.default_socket({})


def test_the_socket_is_in_the_runtime_folder_or_in_a_folder_of_the_user() -> None:
    assert paths.default_socket({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/fluxgym/fluxgymd.sock")
    assert paths.default_socket({}) == Path(tempfile.gettempdir()) / f"fluxgym-{os.getuid()}" / "fluxgymd.sock"


def test_a_private_folder_is_safe(tmp_path: Path) -> None:
    folder = tmp_path / "fluxgym"
    folder.mkdir(mode=0o700)
    paths.check_socket_folder(folder)


def test_a_link_is_not_safe(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigInvalid, match="it is not a folder"):
        paths.check_socket_folder(tmp_path / "link")


def test_a_folder_that_others_may_write_to_is_not_safe(tmp_path: Path) -> None:
    folder = tmp_path / "fluxgym"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigInvalid, match="other users can write to it"):
        paths.check_socket_folder(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_not_safe(tmp_path: Path) -> None:
    folder = tmp_path / "fluxgym"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(ConfigInvalid, match="it belongs to user 12345"):
        paths.check_socket_folder(folder)


def test_a_world_writable_folder_of_root_is_not_safe_for_an_ordinary_user() -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            paths.check_socket_folder(Path("/tmp"))
        except ConfigInvalid as error:
            status = 0 if "other users can write to it" in error.message else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
