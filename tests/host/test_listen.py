# SPDX-License-Identifier: Apache-2.0
"""The daemon's socket: created once, never in place of another daemon's, and taken from systemd if systemd passes
one."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fluxgym.errors import ConfigInvalid
from fluxgymd.host.listen import OwnSocket, SocketTaken
from tests.harness.waiting import DEADLINE_SECONDS

SERVE = """
import sys
from pathlib import Path
from fluxgymd.host.listen import OwnSocket
own = OwnSocket(Path(sys.argv[1]))
listening = own.open()
print("listening", flush=True)
sys.stdin.readline()
own.close()
listening.close()
"""

# Passes sockets as systemd does: from descriptor 3 on, with the pid of the started process in LISTEN_PID.
PASS_SOCKETS = """
import os, sys
names, pid, program, *descriptors = sys.argv[1:]
for number, descriptor in enumerate(descriptors):
    os.dup2(int(descriptor), 3 + number)
os.environ.update(LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=names, LISTEN_PID=pid or str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-c", program])
"""

ACTIVATED = """
import os
from fluxgym.activation import activated
found = activated(os.environ, "varlink")
if found is None:
    print("none")
else:
    print(found.getsockname(), found.getblocking(), os.get_inheritable(found.fileno()))
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


@contextmanager
def daemon_at(path: Path, checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A real second process that serves on this socket."""
    command = [sys.executable, "-c", SERVE, str(path)]
    process = subprocess.Popen(command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "fluxgymd.sock"


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_socket_is_private_and_is_removed_with_the_daemon(path: Path) -> None:
    own = OwnSocket(path)
    with closing(own.open()) as listening:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
        assert not listening.getblocking()
        assert not listening.get_inheritable()
        assert connects(path)
        own.close()
    assert names(path.parent) == ["fluxgymd.sock.lock"]
    own.close()  # a second call changes nothing


def test_a_second_daemon_on_the_same_socket_is_refused(path: Path, checkout: Path) -> None:
    with daemon_at(path, checkout):
        inode = path.lstat().st_ino
        with pytest.raises(SocketTaken) as refusal:
            OwnSocket(path).open()
        assert refusal.value.message == (
            f"Another fluxgymd is already listening at {path}; stop it first, or choose another --socket."
        )
        assert refusal.value.exit_status == 4
        assert path.lstat().st_ino == inode
        assert connects(path)


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(path: Path, checkout: Path) -> None:
    with daemon_at(path, checkout) as first:
        first.kill()
        first.wait(timeout=DEADLINE_SECONDS)
    assert path.is_socket()
    assert not connects(path)
    own = OwnSocket(path)
    with closing(own.open()):
        assert connects(path)
        own.close()


def test_a_socket_on_which_systemd_listens_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as systemd:
        systemd.bind(str(path))
        systemd.listen()
        own = OwnSocket(path)
        with pytest.raises(SocketTaken):
            own.open()
        own.close()  # the socket isn't its own, so there is nothing to remove
        assert connects(path)
    own = OwnSocket(path)  # the refused one holds no lock
    own.open().close()
    own.close()


def test_a_file_in_place_of_the_socket_is_kept(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("mine")
    with pytest.raises(ConfigInvalid, match="exists but is not a socket, so it is kept"):
        OwnSocket(path).open()
    assert path.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(ConfigInvalid, match=r"is not safe: other users can write to it; set FLUXGYM_SOCKET"):
        OwnSocket(path).open()
    assert names(path.parent) == []


def test_a_link_in_the_place_of_the_folder_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.parent.symlink_to("elsewhere")
    with pytest.raises(ConfigInvalid, match="is not safe: it is not a folder"):
        OwnSocket(path).open()
    assert names(tmp_path / "elsewhere") == []


def activate(checkout: Path, *sockets: socket.socket, fd_names: str, pid: str = "") -> list[str]:
    """What a daemon that was started with these sockets prints: the socket that it found, and its LISTEN_
    variables."""
    descriptors = [str(each.fileno()) for each in sockets]
    done = subprocess.run(
        [sys.executable, "-c", PASS_SOCKETS, fd_names, pid, ACTIVATED, *descriptors],
        cwd=checkout,
        env={"PATH": os.environ["PATH"]},
        pass_fds=[each.fileno() for each in sockets],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    return done.stdout.splitlines()


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Two listening sockets, of which the first is not for the daemon."""
    made = []
    for name in ("other", "varlink"):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / name))
        listening.listen()
        made.append(listening)
    yield made
    for each in made:
        each.close()


def test_the_socket_that_systemd_passes_is_found_by_its_name(
    sockets: list[socket.socket], checkout: Path, tmp_path: Path
) -> None:
    found = activate(checkout, *sockets, fd_names="web:varlink")
    # The LISTEN_ variables are not passed on to the programs that the daemon starts.
    assert found == [f"{tmp_path}/varlink False False", "[]"]


@pytest.mark.parametrize(("fd_names", "pid"), [("web:http", ""), ("", ""), ("web:varlink", "1"), ("varlink", "x")])
def test_sockets_meant_for_another_process_are_not_taken(
    sockets: list[socket.socket], checkout: Path, fd_names: str, pid: str
) -> None:
    assert activate(checkout, *sockets, fd_names=fd_names, pid=pid) == ["none", "[]"]


def test_without_activation_there_is_no_socket(checkout: Path) -> None:
    assert activate(checkout, fd_names="") == ["none", "[]"]
