# SPDX-License-Identifier: Apache-2.0
"""Hooks of a real daemon: what they get, and that none of them holds it up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fluxgym import methods as m
from fluxgym.messages import Context, Kind, State, WatchdogMode
from tests.daemon.running import RunningDaemon
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.hooks.web import Web

RESULT = """printf '{"files": []}' > result.json"""
HANGS = {"interval_seconds": 0.2, "without_phase_seconds": 1.0}


def program(name: str, script: str, **changes: Any) -> Context:
    return Context(name=name, kind=Kind.PROGRAM, program=["/bin/sh", "-c", script], **changes)


def daemon_with(folder: Path, hooks: str) -> RunningDaemon:
    """One whose configuration file holds this table."""
    file = folder / "etc/fluxgym/config.toml"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o600)
    file.write_text(f"[hooks]\n{hooks}\n", encoding="utf-8")
    return RunningDaemon(folder, arguments=("--supervisor", "process"), env={"XDG_CONFIG_HOME": str(folder / "etc")})


def script(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o700)
    return file


def keeps(folder: Path, name: str) -> Path:
    """A hook that keeps the object that it gets, in `name`.json."""
    return script(folder, name, f"cat > {folder}/{name}.new && mv {folder}/{name}.new {folder}/{name}.json")


def kept(folder: Path, name: str) -> Any:
    file = folder / f"{name}.json"
    until(file.exists, what=f"the hook {name} to be called")
    return json.loads(file.read_text())


def monitor_log(daemon: RunningDaemon, name: str) -> str:
    file = daemon.folder(name) / "monitor.log"
    return file.read_text() if file.exists() else ""


def test_each_event_calls_its_hook_with_the_job(folder: Path) -> None:
    hooks = "\n".join(f'on_{event} = ["{keeps(folder, event)}"]' for event in ("stuck", "finish", "fail"))
    with daemon_with(folder, hooks) as daemon:
        daemon.submit(program("good", RESULT))
        told = kept(folder, "finish")
        assert (told["version"], told["event"], told["text"]) == (1, "finish", "good is completed.")
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


def test_an_end_that_no_daemon_saw_is_told_by_the_next_one(folder: Path) -> None:
    with daemon_with(folder, f'on_finish = ["{keeps(folder, "finish")}"]') as daemon:
        daemon.submit(program("good", f"until test -e {folder}/go; do sleep 0.1; done; {RESULT}"))
        daemon.wait("good", State.RUNNING)
        daemon.kill()
        (folder / "go").touch()
        until((daemon.folder("good") / "attempts/001/exit.json").exists, what="the program to end")
        daemon.start()
        assert kept(folder, "finish")["text"] == "good is completed."


def test_a_webhook_gets_it_by_post_and_its_address_is_seen_nowhere(folder: Path) -> None:
    with Web() as web, daemon_with(folder, f'on_finish = "{web.address}/s3cr3t"') as daemon:
        daemon.submit(program("good", RESULT))
        posted = web.next()
        assert (posted.path, json.loads(posted.body)["job"]["context"]["name"]) == ("/s3cr3t", "good")
        web.status = 500
        daemon.submit(program("again", RESULT))
        web.next()
        until(lambda: "on_finish failed" in monitor_log(daemon, "again"), what="the failure to be told")
        assert "The hook on_finish failed: it ended with status 1: 127.0.0.1 answered 500" in monitor_log(
            daemon, "again"
        )
        assert "s3cr3t" not in monitor_log(daemon, "again") + daemon.log.read_text()


def test_no_argument_of_a_process_holds_the_address(folder: Path) -> None:
    with Web() as web, daemon_with(folder, f'on_finish = "{web.address}/hang"') as daemon:
        daemon.submit(program("good", RESULT))
        assert web.next().path == "/hang"
        assert daemon.process is not None
        helper = [line for line in command_lines(daemon.process.pid) if "post.py" in line]
        assert len(helper) == 1
        assert "/hang" not in "".join(command_lines(daemon.process.pid))


def command_lines(pid: int) -> list[str]:
    """Of the children of a process."""
    children = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in children]


def test_hooks_that_hang_hold_nothing_up(folder: Path) -> None:
    hang = script(folder, "hang", f"echo x >> {folder}/hung; exec sleep 1000")
    with daemon_with(folder, f'on_fail = ["{hang}"]\ndeadline_seconds = 3600') as daemon:
        for number in range(6):
            daemon.submit(program(f"bad-{number}", "exit 1"))
        for number in range(6):
            daemon.wait(f"bad-{number}", State.FAILED)
        until(lambda: count(folder) == 4, what="four of them to be called at once")
        daemon.submit(program("good", RESULT))
        daemon.wait("good", State.COMPLETED)
        assert count(folder) == 4
        daemon.stop()  # it leaves with status 0, and none of them stays behind
        assert "sleep 1000" not in all_command_lines(str(folder))
        assert "failed: the daemon was stopped before it ended" in monitor_log(daemon, "bad-0")


def count(folder: Path) -> int:
    hung = folder / "hung"
    return len(hung.read_text().splitlines()) if hung.exists() else 0


def all_command_lines(folder: str) -> str:
    """Of the processes that carry the folder in their environment or arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (process / "environ").read_text(errors="replace"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)


def test_one_that_hangs_and_floods_is_ended_and_told_in_one_line(folder: Path) -> None:
    flood = script(folder, "flood", "exec yes")
    with daemon_with(folder, f'on_fail = ["{flood}"]\ndeadline_seconds = 5') as daemon:
        daemon.submit(program("bad", "exit 1"))
        until(lambda: "on_fail" in monitor_log(daemon, "bad"), what="its end to be told")
        (line,) = [line for line in monitor_log(daemon, "bad").splitlines() if "hook" in line]
        assert line.endswith("  The hook on_fail failed: it did not end within 5 s and was killed: y.")


@pytest.mark.parametrize("missing", ["/nonexistent/hook", "no-such-program-of-ours"])
def test_one_that_is_not_there_is_refused_at_the_start(folder: Path, missing: str) -> None:
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
        f"fluxgymd: {file}, line 3: hooks.on_stuck begins with '{missing}', which is no executable file; "
        "it must be the path of a program, or the name of one in PATH.\n"
    )
    assert not (folder / "home").exists()
