# SPDX-License-Identifier: Apache-2.0
"""Hooks of a real daemon: the data they receive, and that a hook never holds up the daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State, WatchdogMode
from tests.daemon.hook_scripts import keeps, kept
from tests.daemon.running import DONE, RunningDaemon, program, write_script
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.hooks.web import Web

HANGS = {"interval_seconds": 0.2, "without_phase_seconds": 1.0}


def daemon_with(folder: Path, hooks: str) -> RunningDaemon:
    """A daemon whose configuration file has these lines in its [hooks] table."""
    file = folder / "etc/fluxgym/config.toml"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o600)
    file.write_text(f"[hooks]\n{hooks}\n", encoding="utf-8")
    return RunningDaemon(folder, arguments=("--supervisor", "process"), env={"XDG_CONFIG_HOME": str(folder / "etc")})


def monitor_log(daemon: RunningDaemon, name: str) -> str:
    file = daemon.folder(name) / "monitor.log"
    return file.read_text() if file.exists() else ""


def test_each_event_calls_its_hook_with_the_job(folder: Path) -> None:
    hooks = "\n".join(f'on_{event} = ["{keeps(folder, event)}"]' for event in ("stuck", "finish", "fail"))
    with daemon_with(folder, hooks) as daemon:
        daemon.submit(program("good", DONE))
        told = kept(folder, "finish")
        assert (told["version"], told["event"], told["text"]) == (1, "finish", "good finished successfully.")
        described = daemon.call(m.DESCRIBE, m.JobName(name="good")).job
        assert told["job"]["context"]["name"] == "good"
        assert told["job"]["runtime"]["state"] == "completed"
        assert told["job"]["runtime"]["id"] == described.runtime.id
        assert (told["seen"], "evidence" in told) == ([], False)

        daemon.submit(program("bad", "echo no such tag; exit 7"))
        told = kept(folder, "fail")
        assert (told["event"], told["job"]["runtime"]["state"]) == ("fail", "failed")
        assert told["text"].startswith("bad failed. ")

        daemon.submit(program("still", "exec sleep 1000", watchdog=WatchdogMode.ACT, watchdog_limits=HANGS))
        told = kept(folder, "stuck")
        assert told["text"].startswith("still is stuck. Nothing moved at all for ")
        assert told["job"]["runtime"]["watchdog"]["verdict"] == "stuck"
        assert told["seen"]
        assert told["evidence"] == str(daemon.folder("still") / "attempts/001/evidence")


PROVES_NOTHING = "exec env -i sleep 1000"
"""Runs without the attempt's mark, so after its shim is killed nothing proves which job it belongs to."""


def test_a_lost_job_calls_its_hook_or_that_of_failures(folder: Path) -> None:
    hooks = "\n".join(f'on_{event} = ["{keeps(folder, event)}"]' for event in ("lost", "fail"))
    with daemon_with(folder, hooks) as daemon:
        for name, hook in (("first", "lost"), ("second", "fail")):
            daemon.submit(program(name, PROVES_NOTHING))
            pid = started(daemon, name)
            os.kill(shim_of(daemon, name), signal.SIGKILL)
            told = kept(folder, hook)
            assert (told["event"], told["job"]["context"]["name"]) == ("lost", name)
            assert told["job"]["runtime"]["state"] == "lost"
            assert told["job"]["runtime"]["advice"].startswith("FluxGym checks every second")
            assert told["text"] == (
                f"{name} is lost. Its supervising process is gone, but its trainer may still be running "
                f"(process {pid}). Its GPU stays reserved until contact is restored."
            )
            daemon.call(m.STOP, m.StopParameters(name=name))
            os.kill(pid, signal.SIGKILL)
            daemon.wait(name, State.STOPPED)
            if hook == "lost":
                daemon.stop()
                config = folder / "etc/fluxgym/config.toml"
                config.write_text(config.read_text().replace("on_lost", "#"))
                daemon.start()


def started(daemon: RunningDaemon, name: str) -> int:
    """Returns the program's pid once the journal has recorded it and the program has done its last exec."""
    daemon.wait(name, State.RUNNING)
    attempt = daemon.job(name).runtime.attempt
    assert attempt is not None
    pid = attempt.pid
    assert pid is not None
    until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00", what="the program to run")
    return pid


def shim_of(daemon: RunningDaemon, name: str) -> int:
    return int(next(event for event in daemon.events(name) if event["event"] == "spawned")["shim"]["pid"])


def test_an_end_that_no_daemon_saw_is_reported_by_the_next_one(folder: Path) -> None:
    with daemon_with(folder, f'on_finish = ["{keeps(folder, "finish")}"]') as daemon:
        daemon.submit(program("good", f"until test -e {folder}/go; do sleep 0.1; done; {DONE}"))
        daemon.wait("good", State.RUNNING)
        daemon.kill()
        (folder / "go").touch()
        until((daemon.folder("good") / "attempts/001/exit.json").exists, what="the program to end")
        daemon.start()
        assert kept(folder, "finish")["text"] == "good finished successfully."


def test_a_webhook_receives_a_post_and_its_address_appears_nowhere(folder: Path) -> None:
    with Web() as web, daemon_with(folder, f'on_finish = "{web.address}/s3cr3t"') as daemon:
        daemon.submit(program("good", DONE))
        posted = web.next()
        assert (posted.path, json.loads(posted.body)["job"]["context"]["name"]) == ("/s3cr3t", "good")
        web.status = 500
        daemon.submit(program("again", DONE))
        web.next()
        until(lambda: "on_finish failed" in monitor_log(daemon, "again"), what="the failure to be told")
        assert "The hook on_finish failed: it ended with status 1: 127.0.0.1 answered 500" in monitor_log(
            daemon, "again"
        )
        assert "s3cr3t" not in monitor_log(daemon, "again") + daemon.log.read_text()


def test_no_argument_of_a_process_holds_the_address(folder: Path) -> None:
    with Web() as web, daemon_with(folder, f'on_finish = "{web.address}/hang"') as daemon:
        daemon.submit(program("good", DONE))
        assert web.next().path == "/hang"
        assert daemon.process is not None
        helper = [line for line in command_lines(daemon.process.pid) if "post.py" in line]
        assert len(helper) == 1
        assert "/hang" not in "".join(command_lines(daemon.process.pid))


def command_lines(pid: int) -> list[str]:
    """The command lines of a process's children."""
    children = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in children]


def test_hooks_that_hang_delay_nothing(folder: Path) -> None:
    hang = write_script(folder / "hang", f"echo x >> {folder}/hung; exec sleep 1000")
    with daemon_with(folder, f'on_fail = ["{hang}"]\ndeadline_seconds = 3600') as daemon:
        for number in range(6):
            daemon.submit(program(f"bad-{number}", "exit 1"))
        for number in range(6):
            daemon.wait(f"bad-{number}", State.FAILED)
        until(lambda: count(folder) == 4, what="four of them to be called at once")
        daemon.submit(program("good", DONE))
        daemon.wait("good", State.COMPLETED)
        assert count(folder) == 4
        daemon.stop()  # the daemon exits with status 0, and no hook stays behind
        assert "sleep 1000" not in all_command_lines(str(folder))
        assert "failed: the daemon was stopped before it ended" in monitor_log(daemon, "bad-0")


def count(folder: Path) -> int:
    hung = folder / "hung"
    return len(hung.read_text().splitlines()) if hung.exists() else 0


def all_command_lines(folder: str) -> str:
    """The command lines of all processes that have the folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (process / "environ").read_text(errors="replace"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)


def test_a_hook_that_hangs_and_floods_is_ended_and_reported_in_one_line(folder: Path) -> None:
    flood = write_script(folder / "flood", "exec yes")
    with daemon_with(folder, f'on_fail = ["{flood}"]\ndeadline_seconds = 5') as daemon:
        daemon.submit(program("bad", "exit 1"))
        until(lambda: "on_fail" in monitor_log(daemon, "bad"), what="its end to be told")
        (line,) = [line for line in monitor_log(daemon, "bad").splitlines() if "hook" in line]
        assert line.endswith("  The hook on_fail failed: it did not end within 5 s and was killed: y.")


@pytest.mark.parametrize("missing", ["/nonexistent/hook", "no-such-program-of-ours"])
def test_a_missing_hook_is_refused_at_startup(folder: Path, missing: str) -> None:
    file = folder / "etc/fluxgym/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'# mine\n[hooks]\non_stuck = ["{missing}", "x"]\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "fluxgymd", "--home", folder / "home", "--socket", folder / "socket"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "etc")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"fluxgymd: {file}, line 3: hooks.on_stuck begins with '{missing}', which is not an executable file; "
        "it must be the path of a program, or the name of one in PATH.\n"
    )
    assert not (folder / "home").exists()
