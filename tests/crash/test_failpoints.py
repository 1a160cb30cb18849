# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every failpoint in the source, in the middle of a real training: the promises hold each time.

One job meets all failpoints, one after the other. That tests more than meeting each alone, since each crash starts
from what the one before left.
"""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL, Home
from fluxgymd.store.job_trash import TRASH
from tests.crash import names
from tests.crash.life import Life
from tests.crash.material import short
from tests.crash.mortal import MortalDaemon
from tests.crash.promises import check_history, check_nothing_runs, check_result
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

HALF_A_RECORD = b'{"event":"stop_asked","at":17'


def test_each_failpoint_has_its_own_name() -> None:
    count = Counter(point.name for point in names.failpoints())
    assert [name for name, number in count.items() if number > 1] == []


def test_the_failpoints_of_the_shim_are_known_by_name() -> None:
    for point in names.failpoints():
        assert point.name.startswith(names.SHIM) == point.file.endswith("/shim.py"), f"{point.file}:{point.line}"


def test_promises_1_to_5_and_8_the_daemon_is_killed_anywhere(
    folder: Path, model: Path, undisturbed: dict[str, bytes]
) -> None:
    rules = dict.fromkeys(names.names(), 1)
    for elsewhere in names.names(*names.ELSEWHERE):
        del rules[elsewhere]
    with MortalDaemon(folder, rules) as daemon:
        life = Life(daemon, short("my-lora", model))
        torn: list[Path] = []
        life.between = lambda: tear(life, torn)
        life.submit()
        life.wait_for_step(2)
        life.ask(m.STOP)
        assert life.wait_for(State.STOPPED).runtime.steps_lost == 0
        life.ask(m.RESUME)
        life.wait_for(State.COMPLETED, allowed=(State.STOPPED,))
        check_result(daemon, "my-lora", undisturbed)
        check_history(daemon, daemon.trainers, "my-lora")
        check_nothing_runs(daemon)
        copies = [copy.read_bytes() for copy in daemon.folder("my-lora").glob(f"{JOURNAL}.torn-*")]
        assert copies.count(HALF_A_RECORD) >= len(torn) > 0, "promise 8: a torn record was thrown away"
        life.remove()

        # A failpoint after a rename is never reached by a job whose daemon died at the rename: the next daemon finds
        # the job already there, or already gone. So repeat with new jobs until no more failpoints are met.
        met = -1
        while len(daemon.met) > met:
            met = len(daemon.met)
            for now in (False, True):
                life.submit()
                life.ask(m.STOP)
                life.wait_for(State.STOPPED)
                life.remove(now=now)
        pictures = Home(daemon.home).shared_pictures
        until(
            lambda: all(path.stat().st_nlink > 1 for path in pictures.rglob("*.png")),
            what="the pictures that no job has to be deleted",
        )
        life.leave()
        (trash,) = set((daemon.home / "outputs").iterdir()) - {pictures}
        kept = [journal.read(folder / JOURNAL) for folder in trash.glob("my-lora@*")]
        assert trash.name == TRASH
        assert kept
        assert all(history.job is not None and history.problem is None for history in kept)
        assert not (daemon.home / "owner.json").exists()
        assert list(daemon.temporary.iterdir()) == [], "an attempt has left temporary files"
        assert daemon.rules == {}, "these failpoints were never met"


def tear(life: Life, torn: list[Path]) -> None:
    """Leaves half a record at the end of the journal, as a crash in a write does, while failpoints need one."""
    journal = life.daemon.folder(life.name) / JOURNAL
    wanted = any(name.startswith("journal.tail") or name == "journal.cut_synced" for name in life.daemon.rules)
    if wanted and journal.exists() and journal.read_bytes().endswith(b"\n"):
        with journal.open("ab") as file:
            file.write(HALF_A_RECORD)
        torn.append(journal)


@pytest.mark.systemd
def test_promises_1_to_5_the_daemon_is_killed_anywhere_in_the_start_of_a_scope(
    user_manager: UserManager, folder: Path, model: Path, undisturbed: dict[str, bytes]
) -> None:
    """The kills also come at each event of a start, before and after each step of appending it."""
    events = names.names(*names.APPEND)
    rules = dict.fromkeys([*names.names(*names.START, names.SCOPE, names.BUS), *events], 1)
    started = len(("ended", "reserved", "spawned", "placed"))  # "ended" is that of the attempt before

    def popen(command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
        return user_manager.popen(command, env=env)

    with MortalDaemon(
        folder, rules, passes=dict.fromkeys(events, started), supervisor="scope", popen=popen
    ) as daemon:
        life = Life(daemon, short("my-lora", model))
        life.submit()
        life.wait_for(State.COMPLETED)
        check_result(daemon, "my-lora", undisturbed)
        check_history(daemon, daemon.trainers, "my-lora")
        check_nothing_runs(daemon)
        until(lambda: not scopes(user_manager), what="the scopes to go")
        assert daemon.rules == {}, "these failpoints were never met"


def scopes(manager: UserManager) -> str:
    return manager.systemctl("list-units", "--all", "--plain", "--no-legend", "fluxgym-*.scope").stdout


IN_THE_FORK = "shim.child_goes"
"""Here the trainer dies, before its exec. The shim lives on and would reach its next failpoint."""


def test_promises_2_4_and_5_the_shim_is_killed_anywhere(
    folder: Path, model: Path, undisturbed: dict[str, bytes]
) -> None:
    rules = dict.fromkeys(names.names(names.SHIM), 1)
    del rules[IN_THE_FORK]
    records = len(("shim.json", "started.json", "exit.json"))
    passes = {name: records for name in rules if name.startswith("shim.record_")}
    with MortalDaemon(folder, rules, passes=passes) as daemon:
        life = Life(daemon, short("my-lora", model))
        life.submit()
        life.wait_for(State.COMPLETED)
        check_result(daemon, "my-lora", undisturbed)
        check_history(daemon, daemon.trainers, "my-lora")
        # A trainer without a shim was watched until it ended. check_disk would have found a second one.
        assert "unsupervised" in [event["event"] for event in daemon.events("my-lora")]

        # The remaining failpoints come after exit.json is written. Each needs some end of an attempt.
        for number in range(len(daemon.rules)):
            met = len(daemon.met)
            life = Life(daemon, short(f"stopped-{number}", model))
            life.submit()
            life.wait_for(State.RUNNING)
            life.ask(m.STOP)
            life.wait_for(State.STOPPED)
            check_history(daemon, daemon.trainers, life.name)
            assert len(daemon.met) == met + 1, f"these failpoints were never met: {daemon.rules}"

        daemon.kill()
        daemon.rules = {IN_THE_FORK: 1}
        life = Life(daemon, short("forked", model))
        life.submit()
        life.wait_for(State.FAILED)
        check_history(daemon, daemon.trainers, "forked")
        assert daemon.events("forked")[-1]["exit"]["signal"] == signal.SIGKILL
        assert daemon.rules == {}, "these failpoints were never met"
        check_nothing_runs(daemon)
