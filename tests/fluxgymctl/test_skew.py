# SPDX-License-Identifier: Apache-2.0
"""Promise 9: the client with a real daemon of another version, which runs from a modified copy of the source tree."""

import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from fluxgym import __version__
from fluxgym.protocol.messages import State
from fluxgym.protocol.methods import LIST, GetInfoReply
from fluxgymctl.skew import sentence
from tests.daemon.running import ROOT, RunningDaemon, popen_here, program
from tests.fluxgymctl.program import ctl, on_terminal, started
from tests.fluxgymctl.programs import submit, until_there
from tests.harness.waiting import DEADLINE_SECONDS, join, until

NEWER = f"fluxgymctl: {sentence(ours=__version__, daemons='9.0.0')}\n"
ANOTHER_FIELD = ("priority: int | None = None", 'priority: int | None = msgspec.field(name="urgency", default=None)')
"""Renames the field `priority` to `urgency` on the wire."""


@pytest.mark.parametrize(
    ("ours", "daemons", "says"),
    [
        ("0.2.0", "0.1.9", "(version 0.1.9) is older than this program (0.2.0): it rejects what is new in"),
        ("0.9.0", "0.10.0", "(version 0.10.0) is newer than this program (0.9.0): what is new in the daemon"),
        ("1.0.0", "1.0.0rc1", "(version 1.0.0rc1) is different from this program (1.0.0): features that only one"),
        ("1.0.0", "from-git", "(version from-git) is older than"),
    ],
)
def test_different_versions_are_reported_in_one_line(ours: str, daemons: str, says: str) -> None:
    text = sentence(ours=ours, daemons=daemons)
    assert text is not None
    assert says in text
    assert "\n" not in text


def test_equal_versions_are_not_mentioned() -> None:
    assert sentence(ours="1.0.0", daemons="1.0.0") is None


class Trees:
    """Starts a daemon from a source tree that the test may change in between."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.current = ROOT

    def copy(self, version: str, *changes: tuple[str, str, str]) -> None:
        """Makes a copy with another version, in which one text per change is replaced. `changes`: (file, old text,
        new text)."""
        tree = self._folder / version
        for package in ("fluxgym", "fluxgymd"):
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
        own = ("fluxgym/__init__.py", f'__version__ = "{__version__}"', f'__version__ = "{version}"')
        for name, old, new in (own, *changes):
            text = (tree / name).read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{name} does not hold {old!r} once"
            (tree / name).write_text(text.replace(old, new), encoding="utf-8")
        self.current = tree

    def popen(self, command: Sequence[str | Path], env: Mapping[str, str]) -> "subprocess.Popen[str]":
        # The working directory changes too, because `python -m` looks there first.
        return popen_here(["env", "-C", self.current, *command], {**env, "PYTHONPATH": str(self.current)})


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


@pytest.fixture
def other_daemon(trees: Trees) -> Iterator[RunningDaemon]:
    """A daemon that isn't started yet. The test chooses its source tree."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    daemon = RunningDaemon(folder, popen=trees.popen, arguments=("--supervisor", "process"))
    yield daemon
    if daemon.process is not None:
        daemon.end_jobs()
        daemon.stop()
    shutil.rmtree(folder)


def test_promise_9_a_newer_daemon_is_reported_once_and_works(other_daemon: RunningDaemon, trees: Trees) -> None:
    """Its job waits for something unknown to this client, and has a field that the client doesn't know."""
    trees.copy(
        "9.0.0",
        ("fluxgym/protocol/messages.py", 'HELD = "held"\n    PAUSED', 'HELD = "frozen"\n    PAUSED'),
        ("fluxgym/protocol/messages.py", *ANOTHER_FIELD),
    )
    other_daemon.start()
    assert other_daemon.info().version == "9.0.0"

    submitted = ctl("submit", "a", "--hold", "--", "true", socket=other_daemon.socket)
    assert (submitted.returncode, submitted.stdout, submitted.stderr) == (0, "a\n", NEWER)

    def shown() -> str | None:
        listed = ctl("list", socket=other_daemon.socket)
        assert (listed.returncode, listed.stderr) == (0, NEWER)
        return listed.stdout if "waits for something that this version does not know" in listed.stdout else None

    until(shown, what="the scheduler to look at the job")
    both = ctl("stop", "nobody", "a", socket=other_daemon.socket)  # a connection for each of the two
    assert both.returncode == 3
    assert both.stderr == f"{NEWER}fluxgymctl: There is no job nobody.\nfluxgymctl: a is stopped.\n"


def test_promise_9_an_older_daemon_is_reported_once_and_refuses_only_what_it_does_not_know(
    other_daemon: RunningDaemon, trees: Trees
) -> None:
    trees.copy(
        "0.0.1",
        ("fluxgymd/api/jobs.py", "            Route(m.HOLD, self.hold),\n", ""),
        ("fluxgym/protocol/messages.py", *ANOTHER_FIELD),
    )
    other_daemon.start()
    older = f"fluxgymctl: {sentence(ours=__version__, daemons='0.0.1')}\n"

    field = ctl("submit", "a", "--priority", "5", "--", "true", socket=other_daemon.socket)
    assert field.returncode == 2
    assert field.stderr.startswith(f"{older}fluxgymctl: There is no setting priority;")
    submitted = ctl("submit", "a", "--hold", "--", "true", socket=other_daemon.socket)
    assert (submitted.returncode, submitted.stderr) == (0, older)
    verb = ctl("hold", "a", socket=other_daemon.socket)
    assert (verb.returncode, verb.stdout) == (2, "")
    assert verb.stderr == (
        f"{older}fluxgymctl: This daemon does not know org.fluxgym.Jobs.Hold; it is older than this program.\n"
    )


def test_rm_asks_first_where_an_older_daemon_has_no_trash(other_daemon: RunningDaemon, trees: Trees) -> None:
    trees.copy("0.0.1", ("fluxgymd/api/machine.py", "Route(mm.SETTINGS, self.settings), ", ""))
    other_daemon.start()
    other_daemon.submit(program("a"))
    other_daemon.wait("a", State.COMPLETED)
    assert "Delete a " in on_terminal(["rm", "a"], socket=other_daemon.socket, answer=b"n\n")[1]
    assert other_daemon.folder("a").exists()


def test_an_upgrade_of_the_daemon_during_a_stream_is_reported_once(
    other_daemon: RunningDaemon, trees: Trees, tmp_path: Path
) -> None:
    other_daemon.start()
    submit(other_daemon, "a", script=until_there(tmp_path / "go"))
    with started("watch", "a", socket=other_daemon.socket) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith(b"a  ")
        other_daemon.stop()
        trees.copy("9.0.0")
        other_daemon.start()
        (tmp_path / "go").touch()
        shown, told = watch.communicate(timeout=DEADLINE_SECONDS)
    assert watch.returncode == 0
    assert shown.splitlines()[-1].startswith(b"a completed: ")
    away, newer = told.decode().splitlines(keepends=True)
    assert (away.startswith("fluxgymctl: Lost the connection to the daemon;"), newer) == (True, NEWER)


def listed_by(folder: Path, answers: Sequence[bytes]) -> tuple["subprocess.CompletedProcess[str]", list[str]]:
    """Runs `fluxgymctl list` with daemons that answer only after they have received two calls, the client's greeting
    and its `list`. Returns the finished process and the calls. A client that waited for the answer to its greeting
    would hang."""
    calls: list[str] = []

    def serve() -> None:
        for answer in answers:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(DEADLINE_SECONDS)
                received = b""
                while received.count(b"\0") < 2:
                    data = peer.recv(65536)
                    assert data, "the client left before it had sent both calls"
                    received += data
                calls.extend(msgspec.json.decode(frame)["method"] for frame in received.split(b"\0")[:2])
                peer.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        listed = ctl("list", socket=folder / "s")
        join(server)
    return listed, calls


def no_jobs(version: str) -> bytes:
    info = GetInfoReply(vendor="", product="", version=version, url="", interfaces=[])
    return msgspec.json.encode({"parameters": info}) + b'\0{"parameters": {}}\0'


NO_JOBS = "fluxgymctl: There are no jobs yet; `fluxgymctl submit` creates one.\n"


def test_the_version_costs_no_extra_round_trip(tmp_path: Path) -> None:
    listed, calls = listed_by(tmp_path, [no_jobs(__version__)])
    assert (listed.returncode, listed.stderr) == (0, NO_JOBS)
    assert calls == ["org.varlink.service.GetInfo", LIST.name]


def test_a_daemon_that_is_replaced_by_a_newer_one_is_not_noticed(tmp_path: Path) -> None:
    """Only the version of the daemon that answers is noticed."""
    leaving = b'{"error":"org.fluxgym.Machine.Leaving","parameters":{"message":"It leaves."}}\0'
    listed, calls = listed_by(tmp_path, [leaving, no_jobs("9.0.0")])
    assert (listed.returncode, listed.stderr) == (0, NEWER + NO_JOBS)
    assert calls == ["org.varlink.service.GetInfo", LIST.name] * 2
