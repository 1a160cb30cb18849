# SPDX-License-Identifier: Apache-2.0
"""Records what the version of this checkout leaves behind: `python -m tests.data.frozen.record VERSION`.

It writes tests/data/frozen/VERSION/, which never changes once that version is in use:

    outputs/        the homes of jobs that a real daemon ran, trainings of the tiny model among them
    expected.json   each job, as that daemon reported it
    calls.jsonl     the calls of a client and the daemon's answers, frame by frame
    shim.frozen     the shim, which may still run after the daemon is upgraded

Models, pictures, states and results are not kept: 40 MB that nobody needs to read a journal. The paths and the IDs of
the machine and the boot are replaced, so that no machine mistakes itself for the one that made the recording.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.framing import Splitter, decode, encode
from fluxgym.protocol.messages import Context, Kind, RestartPolicy, State, WatchdogMode
from fluxgymd.attempts import place
from fluxgymd.core.journal import events as e
from fluxgymd.store.machine import MachineState
from tests.daemon.running import ROOT, TRAINER_PYTHON, RunningDaemon, context
from tests.harness.waiting import BUILD_SECONDS, until

HERE = Path(__file__).parent
HOME = "/home/user/.local/share/fluxgym"
"""The path that replaces the home of the recording."""
MACHINE = {"machineId": "f" * 32, "bootId": "00000000-0000-4000-8000-000000000000"}
KEPT = {"events.jsonl", "ui_state.json", "shim.json", "started.json", "exit.json", "lock", "metrics.jsonl"}
KEPT |= {"monitor.log", "training.log", "result.json", "dataset.toml", "sample_prompts.txt"}
DONE = """echo '{"files": []}' > result.json"""
FOREVER = "while :; do sleep 0.1; done"
PROVES_NOTHING = f"exec env -i /bin/sh -c '{FOREVER}'"
"""A program whose environment lacks the mark of its attempt, so that nothing proves whose process it is."""


def program(name: str, script: str, **settings: Any) -> Context:
    return Context(name=name, kind=Kind.PROGRAM, program=["/bin/sh", "-c", script], **settings)


def live_through(daemon: RunningDaemon, model: Path) -> None:
    """Runs jobs into every state that a job can be in, and causes every event that one machine can cause."""
    for name, script, state in (
        ("completed", DONE, State.COMPLETED),
        ("failed", "echo 'FileNotFoundError: a.png'; exit 3", State.FAILED),
        ("killed", "kill -SEGV $$", State.FAILED),
        ("no-result", "exit 0", State.FAILED),
    ):
        daemon.submit(program(name, script))
        daemon.wait(name, state)
    trained(daemon, model)
    resumed(daemon)
    interrupted(daemon)
    stuck(daemon)
    daemon.call(mm.PAUSE, m.Nothing())
    queued(daemon)
    daemon.call(mm.CONTINUE, m.Nothing())
    for name, script in (("lost", PROVES_NOTHING), ("running", FOREVER)):
        daemon.submit(program(name, script))
        daemon.wait(name, State.RUNNING)
    os.kill(_record(daemon, "lost", "shim.json")["pid"], signal.SIGKILL)
    daemon.wait("lost", State.LOST)
    daemon.call(m.STOP, m.StopParameters(name="lost"))


def trained(daemon: RunningDaemon, model: Path) -> None:
    daemon.submit(context("trained", model))
    daemon.wait("trained", State.COMPLETED)
    daemon.submit(context("barred", model, epochs=1000))
    daemon.wait_for_step("barred", 17)
    daemon.call(m.STOP, m.StopParameters(name="barred"))
    daemon.wait("barred", State.STOPPED)
    daemon.call(m.EDIT, m.SubmitParameters(job=Context(name="barred", network_dim=8)))
    daemon.call(m.RESUME, m.ResumeParameters(name="barred"))
    daemon.wait("barred", State.FAILED)


def resumed(daemon: RunningDaemon) -> None:
    daemon.submit(program("stopped", FOREVER))
    for _ in range(2):
        daemon.wait("stopped", State.RUNNING)
        daemon.call(m.STOP, m.StopParameters(name="stopped"))
        daemon.wait("stopped", State.STOPPED)
        daemon.call(m.RESUME, m.ResumeParameters(name="stopped"))
    daemon.wait("stopped", State.RUNNING)
    daemon.call(m.STOP, m.StopParameters(name="stopped"))
    daemon.wait("stopped", State.STOPPED)


def interrupted(daemon: RunningDaemon) -> None:
    daemon.submit(program("interrupted", FOREVER, restart=RestartPolicy.NEVER))
    daemon.wait("interrupted", State.RUNNING)
    os.kill(_record(daemon, "interrupted", "started.json")["pid"], signal.SIGTERM)
    daemon.wait("interrupted", State.INTERRUPTED)


def stuck(daemon: RunningDaemon) -> None:
    """Runs a job that hangs in both its attempts, so that it fails."""
    limits = {"interval_seconds": 0.5, "without_phase_seconds": 1.0}
    daemon.submit(program("stuck", "exec sleep 1000", watchdog=WatchdogMode.ACT, watchdog_limits=limits))
    daemon.wait("stuck", State.FAILED)


def queued(daemon: RunningDaemon) -> None:
    """Queues jobs and changes them. The queue must be paused."""
    for name in ("queued", "held", "cancelled", "after"):
        after = ["failed"] if name == "after" else None
        daemon.submit(program(name, DONE, after=after))
    daemon.call(m.HOLD, m.JobName(name="queued"))
    daemon.call(m.RELEASE, m.JobName(name="queued"))
    daemon.call(m.MOVE, m.MoveParameters(name="queued", before="held"))
    daemon.call(m.EDIT, m.SubmitParameters(job=Context(name="queued", after=["failed"], priority=3)))
    daemon.call(m.HOLD, m.JobName(name="held"))
    daemon.call(m.STOP, m.StopParameters(name="cancelled"))


def elsewhere(outputs: Path) -> None:
    """Writes the jobs that one machine alone cannot produce, with the daemon's own code: `disowned`, whose attempt
    was lost on another machine, found again and given up; `unsupervised`, whose shim was killed there; and
    `imported`, a training of an older program."""
    lines = (outputs / "lost" / "events.jsonl").read_bytes().splitlines(keepends=True)
    submitted = e.decode(lines[0])
    assert isinstance(submitted, e.Submitted)
    begun = lines[1:5]
    later: list[e.AnyEvent] = [
        e.SightLost(at=submitted.at + 50, attempt=1, why="it was started on another machine"),
        e.SightRegained(at=submitted.at + 60, attempt=1),
        e.SightLost(at=submitted.at + 70, attempt=1, why="it was started on another machine"),
        e.Disowned(at=submitted.at + 80, attempt=1),
        e.Held(at=submitted.at + 90),
    ]
    _write_job(outputs, submitted, "disowned", begun + [e.encode(event) for event in later])
    later_still = msgspec.structs.replace(submitted, at=submitted.at + 100, rank=submitted.rank + 100)
    alone: list[e.AnyEvent] = [
        e.Unsupervised(at=later_still.at, attempt=1),
        e.SightLost(
            at=later_still.at, attempt=1, why="it was started on another machine, which cannot be asked from here"
        ),
    ]
    _write_job(outputs, later_still, "unsupervised", begun + [e.encode(event) for event in alone])
    imported = e.Imported(at=submitted.at + 1, outcome="stopped", reason="Its log ends in the middle of a step.")
    _write_job(outputs, submitted, "imported", [e.encode(imported)])


def _write_job(outputs: Path, submitted: e.Submitted, name: str, rest: list[bytes]) -> None:
    (outputs / name).mkdir()
    named = msgspec.structs.replace(submitted, context=msgspec.structs.replace(submitted.context, name=name))
    (outputs / name / "events.jsonl").write_bytes(e.encode(named) + b"".join(rest))


def keep(source: Path, target: Path, *, hide: Callable[[str], str]) -> None:
    """Copies the files named in KEPT, with the paths and IDs of this machine replaced by `hide`."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name in KEPT:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(hide(path.read_text()))


# --- calls and answers

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("org.fluxgym.Machine.Pause", {}),
    ("org.varlink.service.GetInfo", {}),
    ("org.varlink.service.GetInterfaceDescription", {"interface": "org.fluxgym.Jobs"}),
    ("org.fluxgym.Machine.Info", {}),
    ("org.fluxgym.Machine.Gpus", {}),
    ("org.fluxgym.Machine.ClearQuarantine", {"gpu": "0"}),
    ("org.fluxgym.Jobs.List", {"limit": 3}),
    ("org.fluxgym.Jobs.List", {"before": "trained"}),
    *(("org.fluxgym.Jobs.Describe", {"name": name}) for name in ("completed", "trained", "barred", "held", "killed")),
    ("org.fluxgym.Jobs.Describe", {"name": "nobody"}),
    ("org.fluxgym.Jobs.Logs", {"name": "failed", "offset": 0}),
    ("org.fluxgym.Jobs.Watch", {}),
    ("org.fluxgym.Jobs.Watch", {"name": "completed"}),
    ("org.fluxgym.Jobs.History", {"name": "stopped"}),
    ("org.fluxgym.Jobs.Checkpoints", {"name": "trained"}),
    ("org.fluxgym.Jobs.Watchdog", {"name": "completed"}),
    ("org.fluxgym.Jobs.Submit", {"job": {"name": "new", "kind": "program", "program": ["/bin/true"], "held": True}}),
    ("org.fluxgym.Jobs.Submit", {"job": {"name": "new", "kind": "program", "program": ["/bin/true"]}}),
    ("org.fluxgym.Jobs.Submit", {"job": {"name": "No Name"}}),
    ("org.fluxgym.Jobs.Submit", {"job": {"name": "other", "dataset": "/no/such/folder"}}),
    ("org.fluxgym.Jobs.Release", {"name": "new"}),
    ("org.fluxgym.Jobs.Hold", {"name": "new"}),
    ("org.fluxgym.Jobs.Hold", {"name": "new"}),
    ("org.fluxgym.Jobs.Move", {"name": "new", "before": "held"}),
    ("org.fluxgym.Jobs.Edit", {"job": {"name": "new", "priority": 5}}),
    ("org.fluxgym.Jobs.Stop", {"name": "new", "afterCheckpoint": True}),
    ("org.fluxgym.Jobs.Stop", {"name": "new"}),
    ("org.fluxgym.Jobs.Resume", {"name": "new", "assumeGone": False}),
    ("org.fluxgym.Jobs.Stop", {"name": "new"}),
    ("org.fluxgym.Jobs.Remove", {"name": "new"}),
    ("org.fluxgym.Jobs.NoSuchMethod", {}),
    ("org.nobody.Nothing", {}),
)
STREAMS = ("List", "Logs", "Watch", "History")


def converse(path: Path) -> Iterator[dict[str, Any]]:
    """Yields each call with its answers. Those of a Watch end when they have reached the present."""
    for method, parameters in CALLS:
        call: dict[str, Any] = {"method": method, "parameters": parameters}
        if method.rpartition(".")[2] in STREAMS:
            call["more"] = True
        yield {"call": call, "answers": list(answers(path, call))}


def answers(path: Path, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the daemon's answers to a call as they arrive."""
    splitter = Splitter(1 << 26)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(path))
        connection.sendall(encode(call))
        continues = True
        while continues:
            while (frame := splitter.next()) is None:
                data = connection.recv(1 << 16)
                assert data, f"the daemon hung up on {call}"
                splitter.feed(data)
            answer = decode(frame)
            yield answer
            watched = call["method"].endswith(".Watch") and "job" not in answer.get("parameters", {})
            continues = bool(answer.get("continues")) and not watched


def _record(daemon: RunningDaemon, name: str, file: str) -> dict[str, Any]:
    path = daemon.folder(name) / "attempts" / "001" / file
    until(path.exists, what=f"{file} of {name}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def record(target: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix="fg-"))
    model = work / "model"
    subprocess.run(
        [TRAINER_PYTHON, ROOT / "sd-scripts" / "make_tiny_flux.py", model], check=True, timeout=BUILD_SECONDS
    )
    subprocess.run(
        [TRAINER_PYTHON, ROOT / "demo" / "make_pictures.py", model / "pictures"], check=True, timeout=BUILD_SECONDS
    )
    for extra in sorted((model / "pictures").iterdir())[16:]:
        extra.unlink()
    here = place.here()

    def hide(text: str) -> str:
        text = (
            text.replace(str(work / "home"), HOME).replace(str(work), "/home/user").replace(str(ROOT), "/opt/fluxgym")
        )
        return text.replace(here.machine_id, MACHINE["machineId"]).replace(here.boot_id, MACHINE["bootId"])

    with RunningDaemon(work, arguments=("--supervisor", "process")) as daemon:
        live_through(daemon, model)
        keep(daemon.home / "outputs", target / "outputs", hide=hide)
        os.kill(_record(daemon, "lost", "started.json")["pid"], signal.SIGKILL)
    elsewhere(target / "outputs")
    shutil.copy(ROOT / "fluxgymd" / "attempts" / "shim.py", target / "shim.frozen")
    shutil.rmtree(work)
    tell(target)


@contextmanager
def on_a_copy(home: Path) -> Iterator[RunningDaemon]:
    """Runs a daemon on a copy of frozen homes. Its queue is paused, and it has noticed that `running` is lost."""
    work = Path(tempfile.mkdtemp(prefix="fg-"))
    shutil.copytree(home / "outputs", work / "home" / "outputs")
    daemon = RunningDaemon(work, arguments=("--supervisor", "process"))
    MachineState(work / "state" / "fluxgym" / "machine", place.here().machine_id).pause(paused=True)
    daemon.start()
    try:
        until(lambda: daemon.job("running").runtime.state is State.LOST, what="the running one to be lost")
        yield daemon
    finally:
        if daemon.process is not None:
            daemon.kill()  # not an orderly end, since its jobs from another machine never end
        shutil.rmtree(work)


def told(daemon: RunningDaemon) -> dict[str, Any]:
    """Returns each job by name as the daemon reports it, with its home replaced by HOME."""
    jobs = {job.context.name: msgspec.to_builtins(job) for job in daemon.jobs()}
    found: dict[str, Any] = json.loads(json.dumps(jobs).replace(str(daemon.home), HOME))
    return found


def tell(target: Path) -> None:
    """Writes expected.json and calls.jsonl: the answers of a daemon on a copy of the frozen homes."""
    with on_a_copy(target) as daemon:
        (target / "expected.json").write_text(json.dumps(told(daemon), indent=1, sort_keys=True) + "\n")
        exchanges = [json.dumps(exchange) for exchange in converse(daemon.socket)]
        text = "".join(f"{line}\n" for line in exchanges)
        (target / "calls.jsonl").write_text(
            text.replace(str(daemon.home), HOME).replace(str(daemon.home.parent), "/home/user")
        )


if __name__ == "__main__":
    record(HERE / sys.argv[1])
