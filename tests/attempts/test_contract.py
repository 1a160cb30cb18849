# SPDX-License-Identifier: Apache-2.0
"""What every adapter promises, tested on a real user manager: the same tests for scopes and for plain processes."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.attempts.conftest import NewDaemon
from tests.attempts.daemons import SAVES, STUBBORN, Attempt, Daemon, DaemonRefused, waits_for
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.systemd

LEAVES_ONE_BEHIND = "setsid sleep 1000 & echo ready; exit 3"


# --- the outcome is kept (promise 2)


@pytest.mark.parametrize(
    ("command", "kind_of_end", "number"),
    [
        (["/bin/true"], "exited", 0),
        (["/bin/sh", "-c", "exit 42"], "exited", 42),
        (["/bin/sh", "-c", "exit 137"], "exited", 137),
        (["/bin/sh", "-c", "kill -KILL $$"], "signaled", 9),
        (["/bin/sh", "-c", "kill -SEGV $$"], "signaled", 11),
        (["/no/such/trainer"], "exec-failed", 2),
        (["/etc/passwd"], "exec-failed", 13),
    ],
)
def test_promise_2_the_end_is_recorded(daemon: Daemon, command: list[str], kind_of_end: str, number: int) -> None:
    seen = daemon.conclusion(daemon.start(command), "Exited")
    field = {"exited": "code", "signaled": "signal", "exec-failed": "errno"}[kind_of_end]
    assert seen["exit"]["kind"] == kind_of_end
    assert seen["exit"][field] == number
    assert {"code", "signal", "errno"} & set(seen["exit"]) == {field}
    assert not seen["populated"]
    assert not seen["supervised"]


def test_a_missing_working_directory_ends_the_attempt_with_a_reason(daemon: Daemon) -> None:
    seen = daemon.conclusion(daemon.start("exit 0", cwd="/no/such/folder"), "Exited")
    assert (seen["exit"]["kind"], seen["exit"]["errno"]) == ("exec-failed", 2)


def test_the_trainer_writes_to_the_log_directly_and_has_no_input(daemon: Daemon) -> None:
    attempt = daemon.start("cat; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; ulimit -Hc; umask")
    daemon.conclusion(attempt, "Exited")
    assert attempt.log.read_text().split() == ["/dev/null", str(attempt.log), str(attempt.log), "0", "0077"]


def test_the_trainer_starts_with_no_signal_blocked_or_ignored(daemon: Daemon) -> None:
    # A shell corrects its own mask, so the test runs grep. A Python that inherits a blocked SIGTERM could not be
    # asked to save.
    attempt = daemon.start(["/bin/grep", "-E", "SigBlk|SigIgn", "/proc/self/status"])
    daemon.conclusion(attempt, "Exited")
    _, blocked, _, ignored = attempt.log.read_text().split()
    assert int(blocked, 16) == 0
    of_glibc = 1 << 31 | 1 << 32  # glibc's internal ones, which posix_spawn leaves ignored until there is a thread
    assert int(ignored, 16) & ~of_glibc == 0


def test_orphaned_processes_are_adopted_and_reaped_by_the_shim(daemon: Daemon, signal_file: Path) -> None:
    orphan = signal_file.with_suffix(".orphan")
    attempt = daemon.start(f"({waits_for(orphan, then='exit 5')}) & {waits_for(signal_file, then='exit 0')}")
    attempt.wait_for_line("ready\nready")
    pid = attempt.record("started.json")["pid"]
    daemon.ask("signal", pid=pid, number=signal.SIGKILL)
    until(lambda: len(daemon.ask("children", pid=attempt.shim)) == 1, what="the orphan to be the shim's child")
    orphan.touch()
    seen = daemon.conclusion(attempt, "Exited")
    assert seen["exit"]["signal"] == signal.SIGKILL, "the orphan's code is not the trainer's"


def test_promise_6_only_processes_that_provably_belong_to_the_attempt_are_listed(
    daemon: Daemon, bystander: tuple[subprocess.Popen[str], int]
) -> None:
    attempt = daemon.start("setsid sleep 1000 & echo $! $$; echo ready; wait")
    attempt.wait_for_line("ready")
    orphan, trainer = map(int, attempt.log.read_text().split()[:2])
    named = daemon.ask("processes", ref=attempt.ref)
    assert set(named) == {attempt.shim, trainer, orphan}
    assert bystander[1] not in named
    elsewhere = {**attempt.ref, "place": {**attempt.ref["place"], "bootId": "another"}}
    assert daemon.ask("processes", ref=elsewhere) == []
    daemon.ask("kill", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")
    assert daemon.ask("processes", ref=attempt.ref) == []


# --- stopping


def test_a_trainer_that_is_asked_to_stop_saves_and_exits(daemon: Daemon) -> None:
    attempt = daemon.start(SAVES)
    attempt.wait_for_line("ready")
    assert daemon.ask("terminate", ref=attempt.ref)
    seen = daemon.conclusion(attempt, "Exited")
    assert seen["exit"]["code"] == 143
    assert not seen["exit"].get("termSeen"), "only the trainer's own process was told"
    assert "saved" in attempt.log.read_text()
    assert not daemon.ask("terminate", ref=attempt.ref)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_record_names_the_signal_that_the_entire_attempt_received(daemon: Daemon, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    attempt = daemon.start(f"trap 'exit 1' {name}; echo ready; while :; do sleep 0.02; done")
    attempt.wait_for_line("ready")
    daemon.ask("signal", pid=attempt.shim, number=number)
    daemon.ask("tell", ref=attempt.ref, number=number)
    record = daemon.conclusion(attempt, "Exited")["exit"]
    assert (record["code"], record["termSeen"], record["endingsSeen"]) == (1, True, [number])


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_request_signal_sent_to_the_entire_attempt_does_not_end_the_shim(
    daemon: Daemon, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    attempt = daemon.start(
        f"trap 'echo granted' {name}; trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"
    )
    attempt.wait_for_line("ready")
    daemon.ask("signal", pid=attempt.shim, number=number)
    daemon.ask("tell", ref=attempt.ref, number=number)
    attempt.wait_for_line("granted")
    daemon.ask("terminate", ref=attempt.ref)
    record = daemon.conclusion(attempt, "Exited")["exit"]
    assert (record["code"], record.get("endingsSeen"), record.get("termSeen")) == (7, None, None)


def test_promise_6_a_request_reaches_only_a_process_that_has_a_handler_for_it(
    daemon: Daemon, signal_file: Path
) -> None:
    attempt = daemon.start(
        f"{waits_for(signal_file, then='trap')} 'echo granted' USR1; echo handles; while :; do sleep 0.02; done"
    )
    attempt.wait_for_line("ready")
    asked = {"ref": attempt.ref, "number": signal.SIGUSR1, "launched": False}
    assert daemon.ask("request", **asked) == [False, False]
    signal_file.touch()
    attempt.wait_for_line("handles")
    assert daemon.ask("request", **asked) == [True, True]
    attempt.wait_for_line("granted")
    assert daemon.ask("request", **{**asked, "number": signal.SIGUSR2}) == [False, False]
    elsewhere = {**attempt.ref, "place": {**attempt.ref["place"], "bootId": "another"}}
    assert daemon.ask("request", **{**asked, "ref": elsewhere}) == [False, False]
    daemon.ask("kill", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")
    assert daemon.ask("request", **asked) == [False, False]


def test_promise_6_only_the_first_of_several_processes_gets_a_request_and_never_their_launcher(
    daemon: Daemon,
) -> None:
    """A child of the first process has its RANK, and a handler too."""
    forever = "while :; do sleep 0.02; done"
    inner = f"trap 'echo child of 0' USR1; echo one more; {forever}"
    worker = f"""trap 'echo granted by '$RANK USR1
if [ $RANK = 0 ]; then sh -c {shlex.quote(inner)} & fi
echo one more; {forever}"""
    script = f"for RANK in 0 1; do export RANK; sh -c {shlex.quote(worker)} & done; {forever}"
    attempt = daemon.start(script)
    until(lambda: attempt.log.exists() and attempt.log.read_text().count("one more") == 3, what="all of them")
    asked = {"ref": attempt.ref, "number": signal.SIGUSR1}
    assert daemon.ask("request", **asked, launched=False) == [False, False], "the launcher would end"
    assert daemon.ask("request", **asked, launched=True) == [True, True]
    attempt.wait_for_line("granted by 0")
    daemon.ask("kill", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")
    told = attempt.log.read_text()
    assert "child of 0" not in told
    assert "granted by 1" not in told


def test_stopped_processes_are_woken_up(daemon: Daemon) -> None:
    attempt = daemon.start("trap 'echo told' USR1; echo ready; while :; do sleep 0.02; done")
    attempt.wait_for_line("ready")
    daemon.ask("tell", ref=attempt.ref, number=signal.SIGSTOP)
    until(lambda: daemon.ask("children", pid=attempt.shim) == ["T"], what="the trainer to be stopped")
    assert daemon.ask("tell", ref=attempt.ref, number=signal.SIGUSR1)
    assert "told" not in attempt.log.read_text()
    daemon.ask("rouse", ref=attempt.ref)
    attempt.wait_for_line("told")
    daemon.ask("kill", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")


def test_a_trainer_that_ignores_the_stop_is_killed_at_the_limit_and_its_end_is_known(daemon: Daemon) -> None:
    attempt = daemon.start(STUBBORN)
    attempt.wait_for_line("ready")
    daemon.ask("stop", ref=attempt.ref)
    seen = daemon.conclusion(attempt, "Exited")
    assert seen["exit"]["signal"] == signal.SIGKILL
    assert seen["exit"]["termSeen"]


def test_a_stop_reaches_every_process(daemon: Daemon) -> None:
    child = "trap 'echo child saved; exit' TERM; echo child ready; while :; do sleep 0.02; done"
    attempt = daemon.start(f"setsid sh -c {shlex.quote(child)} & {SAVES}")
    attempt.wait_for_line("child ready")
    daemon.ask("stop", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")
    assert "child saved" in attempt.log.read_text()


def test_a_kill_leaves_only_the_record_behind(daemon: Daemon) -> None:
    attempt = daemon.start(f'setsid sh -c "{STUBBORN}" & {STUBBORN}')
    attempt.wait_for_line("ready")
    daemon.ask("kill", ref=attempt.ref)
    seen = daemon.conclusion(attempt, "Exited")
    assert seen["exit"]["signal"] == signal.SIGKILL


def test_promise_4_leftover_processes_are_found_and_end_with_a_stop(daemon: Daemon) -> None:
    attempt = daemon.start(LEAVES_ONE_BEHIND)
    assert daemon.conclusion(attempt, "LeftOver")["exit"]["code"] == 3
    daemon.ask("stop", ref=attempt.ref)
    assert daemon.conclusion(attempt, "Exited")["exit"]["code"] == 3


# --- the daemon dies (promise 1)


@pytest.mark.parametrize("until_point", ["spawned", "placed"])
def test_a_daemon_that_dies_before_it_opens_the_gate_has_started_nothing(
    new_daemon: NewDaemon, signal_file: Path, until_point: str
) -> None:
    daemon = new_daemon()
    attempt = daemon.start(f"touch {signal_file}", until=until_point)
    assert daemon.look(attempt)["conclusion"] == "Runs"
    daemon.kill()
    seen = new_daemon().conclusion(attempt, "NeverStarted")
    assert not seen["started"]
    until((attempt.folder / "exit.json").exists, what="the shim's record")
    assert attempt.record("exit.json")["kind"] == "never-started"
    assert not signal_file.exists()


def test_a_stop_that_comes_while_the_gate_is_closed_starts_nothing(
    manager: UserManager, daemon: Daemon, signal_file: Path
) -> None:
    attempt = daemon.start(f"touch {signal_file}", until="placed")
    daemon.ask("signal", pid=attempt.shim, number=signal.SIGTERM)
    assert daemon.look(attempt)["conclusion"] == "Runs"
    daemon.kill()
    until((attempt.folder / "exit.json").exists, what="the shim's record")
    assert attempt.record("exit.json")["termSeen"]
    assert not signal_file.exists()


def test_promise_1_an_attempt_does_not_notice_the_daemon_s_death(new_daemon: NewDaemon, signal_file: Path) -> None:
    first = new_daemon()
    attempt = first.start(waits_for(signal_file, then="exit 42"))
    attempt.wait_for_line("ready")
    first.kill()
    second = new_daemon()
    assert second.look(attempt)["conclusion"] == "Runs"
    second.kill()
    signal_file.touch()
    until((attempt.folder / "exit.json").exists, what="the exit record, with no daemon there")
    seen = new_daemon().conclusion(attempt, "Exited")
    assert seen["exit"]["code"] == 42
    assert not seen["exit"].get("termSeen")


def test_an_adopted_attempt_can_be_stopped(new_daemon: NewDaemon) -> None:
    first = new_daemon()
    attempt = first.start(SAVES)
    attempt.wait_for_line("ready")
    first.kill()
    second = new_daemon()
    assert second.ask("terminate", ref=attempt.ref)
    second.ask("gone", ref=attempt.ref)
    assert second.conclusion(attempt, "Exited")["exit"]["code"] == 143


# --- the shim is killed (promises 2, 4, 6)

LEAVES_A_WORKER = "setsid sleep 1000 & echo ready; wait"
FORGETS_ITS_MARK = "exec env -i /bin/sh -c 'echo ready; while :; do sleep 0.02; done'"


def kill_shim(daemon: Daemon, attempt: Attempt) -> None:
    daemon.ask("signal", pid=attempt.shim, number=signal.SIGKILL)


def kill_both(daemon: Daemon, attempt: Attempt) -> None:
    daemon.ask("signal", pid=attempt.shim, number=signal.SIGKILL)
    daemon.ask("signal", pid=attempt.record("started.json")["pid"], number=signal.SIGKILL)


def test_promise_2_a_trainer_without_its_shim_keeps_running_and_no_exit_is_invented_for_it(
    new_daemon: NewDaemon, signal_file: Path
) -> None:
    daemon = new_daemon()
    attempt = daemon.start(waits_for(signal_file, then="exit 42"))
    attempt.wait_for_line("ready")
    kill_shim(daemon, attempt)
    seen = daemon.conclusion(attempt, "RunsAlone")
    assert (seen["trainer"], seen["exit"]) == ("lives", None)
    assert daemon.ask("processes", ref=attempt.ref)[0] == attempt.record("started.json")["pid"]
    daemon.kill()
    daemon = new_daemon()
    assert daemon.look(attempt)["conclusion"] == "RunsAlone"
    signal_file.touch()
    assert daemon.conclusion(attempt, "Exited")["exit"] is None


def test_a_trainer_without_its_shim_can_still_be_stopped(daemon: Daemon) -> None:
    attempt = daemon.start(SAVES)
    attempt.wait_for_line("ready")
    kill_shim(daemon, attempt)
    daemon.conclusion(attempt, "RunsAlone")
    assert daemon.ask("terminate", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")
    assert "saved" in attempt.log.read_text()


def test_a_trainer_without_its_shim_that_ignores_the_stop_is_killed(daemon: Daemon) -> None:
    attempt = daemon.start(STUBBORN)
    attempt.wait_for_line("ready")
    kill_shim(daemon, attempt)
    daemon.conclusion(attempt, "RunsAlone")
    daemon.ask("stop", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")


def test_promise_4_processes_left_by_a_trainer_that_was_killed_with_its_shim_end_with_a_stop(
    new_daemon: NewDaemon,
) -> None:
    daemon = new_daemon()
    attempt = daemon.start(LEAVES_A_WORKER)
    attempt.wait_for_line("ready")
    kill_both(daemon, attempt)
    assert daemon.conclusion(attempt, "LeftOver")["exit"] is None
    daemon.kill()
    daemon = new_daemon()
    assert daemon.look(attempt)["conclusion"] == "LeftOver"
    daemon.ask("stop", ref=attempt.ref)
    assert daemon.conclusion(attempt, "Exited")["exit"] is None


def test_promise_4_a_trainer_that_cannot_be_identified_is_lost_without_its_shim(daemon: Daemon, kind: str) -> None:
    attempt = daemon.start(FORGETS_ITS_MARK)
    attempt.wait_for_line("ready")
    kill_shim(daemon, attempt)
    pid = attempt.record("started.json")["pid"]
    if kind == "scope":
        assert daemon.conclusion(attempt, "RunsAlone")["trainer"] == "lives", "its cgroup proves it"
        daemon.ask("kill", ref=attempt.ref)
    else:
        seen = daemon.conclusion(attempt, "LostSight")
        assert seen["trainer"] == "unknown"
        assert f"process {pid}" in seen["why"] or f"processes {pid}" in seen["why"]
        daemon.ask("stop", ref=attempt.ref)
        daemon.ask("kill", ref=attempt.ref)
        assert daemon.look(attempt)["conclusion"] == "LostSight"
        daemon.ask("signal", pid=pid, number=signal.SIGKILL)
    assert daemon.conclusion(attempt, "Exited")["exit"] is None


def test_promise_6_a_record_that_names_a_foreign_process_proves_nothing(
    manager: UserManager, daemon: Daemon, bystander: tuple[subprocess.Popen[str], int]
) -> None:
    process, pid = bystander
    attempt = daemon.start(STUBBORN)
    attempt.wait_for_line("ready")
    rewrite(attempt, "started.json", pid=pid, start=start_of(manager, pid))
    kill_shim(daemon, attempt)
    assert daemon.conclusion(attempt, "LostSight")["trainer"] == "unknown"
    daemon.ask("kill", ref=attempt.ref)
    until(lambda: not daemon.look(attempt)["populated"], what="what carries the mark to be killed")
    assert daemon.look(attempt)["conclusion"] == "LostSight", "the one that is named lives"
    assert process.poll() is None


@pytest.mark.parametrize("deleted", ["lock", "shim.json", "started.json", "all of it"])
def test_an_attempt_whose_records_are_deleted_keeps_running(daemon: Daemon, signal_file: Path, deleted: str) -> None:
    attempt = daemon.start(waits_for(signal_file, then="exit 42"))
    attempt.wait_for_line("ready")
    for name in (deleted,) if deleted != "all of it" else ("lock", "shim.json", "started.json"):
        (attempt.folder / name).unlink()
    assert daemon.look(attempt)["conclusion"] == "Runs"
    signal_file.touch()
    assert daemon.conclusion(attempt, "Exited")["exit"]["code"] == 42


# --- contact is lost (promises 4, 6)


def test_promise_6_an_attempt_of_another_machine_or_boot_is_never_signalled(daemon: Daemon) -> None:
    attempt = daemon.start(SAVES)
    attempt.wait_for_line("ready")
    for change in ({"machineId": "0" * 32}, {"bootId": "another"}, {"pidNamespace": "pid:[1]"}):
        elsewhere = {**attempt.ref, "place": {**attempt.ref["place"], **change}}
        assert not daemon.ask("terminate", ref=elsewhere)
        daemon.ask("stop", ref=elsewhere)
        daemon.ask("kill", ref=elsewhere)
        assert daemon.ask("look", ref=elsewhere)["conclusion"] == "LostSight", "its lock is held"
    assert daemon.look(attempt)["conclusion"] == "Runs"
    assert "saved" not in attempt.log.read_text()
    daemon.ask("kill", ref=attempt.ref)
    daemon.conclusion(attempt, "Exited")


@pytest.fixture
def bystander(manager: UserManager) -> Any:
    """A process inside the namespace that belongs to no attempt, and its pid there."""
    process = manager.popen(["/bin/sh", "-c", "echo $$; exec sleep 1000"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    yield process, pid
    process.kill()
    process.wait(timeout=DEADLINE_SECONDS)
    process.stdout.close()


def rewrite(attempt: Attempt, name: str, **changes: Any) -> None:
    path = attempt.folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def start_of(manager: UserManager, pid: int) -> int:
    return int(manager.run(["cut", "-d", " ", "-f", "22", f"/proc/{pid}/stat"]).stdout)


def test_promise_6_a_reused_pid_is_not_signalled(
    manager: UserManager, daemon: Daemon, bystander: tuple[subprocess.Popen[str], int]
) -> None:
    process, pid = bystander
    attempt = daemon.start(SAVES)
    attempt.wait_for_line("ready")
    true = attempt.record("started.json")
    start = start_of(manager, pid)
    rewrite(attempt, "started.json", pid=pid)  # another process now has the recorded pid
    assert not daemon.ask("terminate", ref=attempt.ref)
    rewrite(attempt, "started.json", pid=pid, start=start)  # the record names another process
    assert not daemon.ask("terminate", ref=attempt.ref)
    rewrite(attempt, "started.json", pid=true["pid"], start=true["start"] + 1)  # the pid, but not the start time
    assert not daemon.ask("terminate", ref=attempt.ref)
    strange_shim = {**attempt.ref, "shim": {"pid": pid, "start": start + 1}}
    daemon.ask("stop", ref=strange_shim)
    daemon.conclusion(attempt, "Exited")
    assert process.poll() is None


# --- what is refused, and what is passed through


def test_a_shim_that_died_at_its_gate_is_refused(daemon: Daemon) -> None:
    with pytest.raises(DaemonRefused, match="Refused: The supervising process exited"):
        daemon.start("exit 0", until="placed", kill_shim=True)


def test_a_missing_folder_is_refused(daemon: Daemon) -> None:
    with pytest.raises(DaemonRefused, match="Refused: The supervising process did not start properly"):
        daemon.start("exit 0", folder="/no/such/folder")


def test_a_log_that_cannot_be_opened_is_refused(daemon: Daemon) -> None:
    with pytest.raises(DaemonRefused, match=r"Refused: .*/no/such/log: No such file"):
        daemon.start("exit 0", log="/no/such/log")


def test_the_service_s_own_variables_do_not_reach_the_trainer(new_daemon: NewDaemon) -> None:
    kept = {"HF_HOME": "/models", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "LC_ALL": "C", "http_proxy": "http://proxy:1"}
    of_the_service = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "INVOCATION_ID")
    of_systemd = (
        "JOURNAL_STREAM",
        "CREDENTIALS_DIRECTORY",
        "MEMORY_PRESSURE_WATCH",
        "SYSTEMD_EXEC_PID",
        "MANAGERPID",
    )
    secrets = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY")
    dropped = dict.fromkeys((*of_the_service, *of_systemd, *secrets), "1")
    daemon = new_daemon(env={**kept, **dropped})
    attempt = daemon.start("env; tr '\\0' '\\n' < /proc/$PPID/environ")
    daemon.conclusion(attempt, "Exited")
    lines = attempt.log.read_text().splitlines()
    for name, value in kept.items():
        assert lines.count(f"{name}={value}") == 2, "the trainer's, and the shim's own"
    assert not [line for line in lines if line.partition("=")[0] in dropped]
    assert f"FLUXGYM_ATTEMPT_ID={attempt.ref['mark']}" in lines
