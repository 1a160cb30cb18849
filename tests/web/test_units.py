# SPDX-License-Identifier: Apache-2.0
"""The unit files of the web server, on a real user manager: the first visit starts it, and what it cannot do."""

import json
import sys
from pathlib import Path

import pytest

from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

VISIT = """
import sys, urllib.request, urllib.error
try:
    urllib.request.urlopen("http://127.0.0.1:7860/", timeout=60)
except urllib.error.HTTPError as error:
    print(error.code)
"""


MISDEEDS = """
import ctypes, json, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
folder = sys.argv[1]

def call(status):
    if status == -1:
        raise OSError(ctypes.get_errno(), "refused")

def setuid():
    os.close(os.open(folder + "/setuid", os.O_CREAT, 0o700))
    os.chmod(folder + "/setuid", 0o4700)

def new_privileges():
    if libc.prctl(39, 0, 0, 0, 0):  # PR_GET_NO_NEW_PRIVS
        raise OSError

def open_to_others():
    os.close(os.open(folder + "/new", os.O_CREAT, 0o666))
    if not os.stat(folder + "/new").st_mode & 0o077:
        raise OSError

TRIES = {
    "memory to write and execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "another address family": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "a namespace": lambda: call(libc.unshare(0x20000)),
    "a mount": lambda: call(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None)),
    "a setuid file": setuid,
    "real-time scheduling": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "another personality": lambda: call(libc.personality(0x0400000)),
    "new privileges": new_privileges,
    "a file open to others": open_to_others,
}
done = []
for name, attempt in TRIES.items():
    child = os.fork()  # a forbidden system call kills the process
    if child == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        done.append(name)
json.dump(done, open(folder + "/done.new", "w"))
os.rename(folder + "/done.new", folder + "/done")
"""


def install(manager: UserManager, checkout: Path) -> Path:
    """Installs the units. Returns the folder of the user's units."""
    units = manager.home / ".config/systemd/user"
    programs = manager.home / ".local/bin"
    for place in (units, programs):
        place.mkdir(parents=True, exist_ok=True)
    for name in ("fluxgym-web.service", "fluxgym-web.socket"):
        (units / name).write_text((checkout / "units" / name).read_text())
    (programs / "fluxgymweb").symlink_to(Path(sys.prefix) / "bin/fluxgymweb")
    manager.daemon_reload()
    return units


@pytest.mark.systemd
def test_the_first_visit_starts_the_server_and_it_stops_at_once(user_manager: UserManager, checkout: Path) -> None:
    install(user_manager, checkout)
    user_manager.systemctl("start", "fluxgym-web.socket")
    assert user_manager.show("fluxgym-web.service", "ActiveState") == "inactive"
    assert user_manager.run([sys.executable, "-c", VISIT]).stdout == "401\n"
    assert user_manager.show("fluxgym-web.service", "ActiveState") == "active"
    user_manager.systemctl("stop", "fluxgym-web.socket", "fluxgym-web.service")
    assert user_manager.show("fluxgym-web.service", "Result") == "success"


@pytest.mark.systemd
def test_each_restriction_of_the_unit_has_its_effect(user_manager: UserManager, checkout: Path) -> None:
    """What a program can do as it is, and what the same program can do as the web server."""
    free, restricted = user_manager.directory / "free", user_manager.directory / "restricted"
    script = user_manager.directory / "misdeeds.py"
    script.write_text(MISDEEDS)
    for folder in (free, restricted):
        folder.mkdir()
    user_manager.run([sys.executable, str(script), str(free)])
    assert len(json.loads((free / "done").read_text())) == MISDEEDS.count('": ')

    more = install(user_manager, checkout) / "fluxgym-web.service.d"
    more.mkdir()
    command = f"[Service]\nExecStart=\nExecStart={sys.executable} {script} {restricted}\nRestart=no\n"
    (more / "instead.conf").write_text(command)
    user_manager.daemon_reload()
    user_manager.systemctl("start", "fluxgym-web.service")
    until((restricted / "done").exists, what="the program to have tried everything")
    assert json.loads((restricted / "done").read_text()) == []
