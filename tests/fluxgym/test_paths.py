# SPDX-License-Identifier: Apache-2.0
"""Where things lie, and that a socket's folder which another user could have made is refused."""

import os
import tempfile
from pathlib import Path

import pytest

from fluxgym import paths
from fluxgym.errors import ConfigInvalid


def test_the_places_follow_the_xdg_variables() -> None:
    environ = {"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s"}
    assert paths.config_file(environ) == Path("/c/fluxgym/config.toml")
    assert paths.default_home(environ) == Path("/d/fluxgym")
    assert paths.machine_state(environ) == Path("/s/fluxgym/machine")


def test_a_relative_xdg_variable_is_passed_over_as_its_specification_says() -> None:
    assert paths.default_home({"HOME": "/h", "XDG_DATA_HOME": "data"}) == Path("/h/.local/share/fluxgym")


def test_the_socket_lies_in_the_runtime_folder_or_in_a_folder_of_the_user() -> None:
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
    with pytest.raises(ConfigInvalid, match="others may write to it"):
        paths.check_socket_folder(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_not_safe(tmp_path: Path) -> None:
    folder = tmp_path / "fluxgym"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(ConfigInvalid, match="it belongs to user 12345"):
        paths.check_socket_folder(folder)


def test_roots_folder_for_everybody_is_not_safe_for_an_ordinary_user() -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            paths.check_socket_folder(Path("/tmp"))
        except ConfigInvalid as error:
            status = 0 if "others may write to it" in error.message else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
