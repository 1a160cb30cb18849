# SPDX-License-Identifier: Apache-2.0
"""The daemon with 10 and with 10,000 finished jobs, side by side, and 100 clients that follow one busy log.

The daemons and their sockets are real. As root, they run in a real user manager that the bench starts, and supervise
by scopes, as for most users. Compared figures are measured in turns in the same run, so that other load on the
machine affects both alike. The goals are issue 3's (Scale). Results go to bench/results/.
"""

import argparse
import json
import os
import platform
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from fluxgym.protocol import methods as m  # noqa: E402
from fluxgym.protocol.framing import encode  # noqa: E402
from fluxgym.protocol.messages import Context, Kind, State  # noqa: E402
from fluxgymd.core.journal import events as e  # noqa: E402
from fluxgymd.core.journal.records import ExitRecord, Place, Placement, Process, Ticks  # noqa: E402
from fluxgymd.store.home import JobFolder  # noqa: E402
from fluxgymd.trainers import dataset_toml, kohya, settings, ui_state  # noqa: E402
from tests.daemon.running import RunningDaemon  # noqa: E402
from tests.harness.user_manager import UserManager  # noqa: E402
from tests.harness.waiting import DEADLINE_SECONDS  # noqa: E402

FEW = 10
START_SECONDS = 2.0
RATIO = 2.0
RSS_BYTES = 60e6
IDLE_SHARE = 0.005
LATE_SECONDS = 0.1
COMPARED = (
    "fluxgymctl list --limit 50",
    "fluxgymctl status",
    "fluxgymctl submit",
    "List of 10",
    "Describe",
    "Submit",
)
LINE = b"steps:  42%|####2     | 1075/2560 [12:31<17:18,  1.43it/s, avr_loss=0.0931]\n"
TICKS_A_SECOND = 100


# ---- a home of finished jobs ---------------------------------------------------------------------------------------


def fill(home: Path, count: int) -> list[str]:
    """Makes job folders as the daemon leaves them, but without pictures and weights. Returns their names, the oldest
    first."""
    chance = random.Random(count)
    place = Place(
        machine_id=word(chance), boot_id=word(chance), pid_namespace="pid:[4026531836]", init_start=Ticks(7)
    )
    names = [f"{chance.choice(['portrait', 'style', 'product', 'anime'])}-{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        folder = JobFolder(home / "outputs" / name)
        folder.attempt(1).mkdir(parents=True)
        history = finished(name, 1.76e9 + 60 * number, place, chance, home)
        context = history[0].context
        folder.journal.write_bytes(b"".join(e.encode(event) for event in history))
        folder.settings.write_bytes(ui_state.render(context, State.COMPLETED, history[0].id, history[0].at))
        folder.dataset_config.write_bytes(dataset_toml.render(context, [folder.dataset]))
        folder.sample_prompts.write_bytes(kohya.sample_prompts(context))
        folder.log.write_bytes(LINE * 20)
        folder.metrics.write_bytes(b'{"time":1.0,"phase":"training","step":2560,"totalSteps":2560}\n')
    return names


def finished(name: str, at: float, place: Place, chance: random.Random, home: Path) -> list[Any]:
    """The events of a completed training."""
    context = settings.complete_training(
        Context(
            name=name,
            dataset=f"/home/user/pictures/{name}",
            trigger_word=f"tok{chance.randrange(10_000)}",
            sample_prompts=[f"a photo of tok in style {chance.randrange(1000)}", "tok on a beach at sunset"],
            sample_every_epochs=4,
            trainer_options={"network_alpha": ["4"], "mixed_precision": ["bf16"], "cache_text_encoder_outputs": []},
        ),
        home,
    )
    job_id = word(chance)
    unit = f"fluxgym-{name}-{job_id[:8]}.001.scope"
    pid = chance.randrange(1000, 4_000_000)
    cgroup = f"/user.slice/user-1000.slice/user@1000.service/fluxgym.slice/{unit}"
    gpu = "GPU-5a6b7c8d-1234-5678-9abc-def012345678"
    return [
        e.Submitted(at=at, id=job_id, context=context, rank=at),
        e.Reserved(
            at=at + 1.25,
            attempt=1,
            adapter="scope",
            unit=unit,
            mark=word(chance),
            place=place,
            gpus=[gpu],
            log_offset=0,
            metrics_offset=0,
        ),
        e.Spawned(at=at + 1.5, attempt=1, shim=Process(pid=pid, start=Ticks(chance.randrange(10**9)))),
        e.Placed(at=at + 1.75, attempt=1, placement=Placement(unit=unit, invocation_id=word(chance), cgroup=cgroup)),
        e.Started(at=at + 2.5, attempt=1, trainer=Process(pid=pid + 1, start=Ticks(chance.randrange(10**9)))),
        e.Ended(
            at=at + 4000.5,
            attempt=1,
            outcome="completed",
            reason="Finished successfully.",
            proof="its cgroup is gone",
            exit=ExitRecord(
                kind="exited",
                code=0,
                max_rss=chance.randrange(10**10),
                user_seconds=chance.random() * 4000,
                system_seconds=chance.random() * 100,
                started_at=at + 2.5,
                ended_at=at + 4000.25,
                boot_id=place.boot_id,
            ),
            step=2560,
            checkpoint_step=2560,
        ),
    ]


def word(chance: random.Random) -> str:
    return f"{chance.getrandbits(128):032x}"


# ---- one daemon ----------------------------------------------------------------------------------------------------


class Measured:
    """A daemon whose home has `count` old jobs."""

    def __init__(self, folder: Path, count: int, manager: UserManager | None) -> None:
        folder.mkdir()
        self.names = fill(folder / "home", count)
        self._submitted = 0
        if manager is None:
            self.daemon = RunningDaemon(folder, arguments=("--supervisor", "process"))
        else:
            self.daemon = RunningDaemon(folder, popen=lambda command, env: manager.popen(command, env=env))

    def start(self) -> float:
        """Starts the daemon. Returns the seconds from the start to the end of the first list."""
        began = time.perf_counter()
        self.daemon.start()
        self.list(50)
        return time.perf_counter() - began

    @property
    def process(self) -> psutil.Process:
        """The daemon itself. In a namespace it is a descendant of the program that entered the namespace."""
        assert self.daemon.process is not None
        outer = psutil.Process(self.daemon.process.pid)
        found = [one for one in (outer, *outer.children(recursive=True)) if "fluxgymd" in one.cmdline()]
        return found[-1]

    def list(self, limit: int) -> None:
        self._ask(m.LIST, m.ListParameters(limit=limit))

    def status(self) -> None:
        self._ask(m.DESCRIBE, m.JobName(name=self._some_job))

    def submit(self) -> None:
        """Submits a held program: the cost of a submit without the helper that copies pictures."""
        context = Context(name=self._new_name(), kind=Kind.PROGRAM, program=["/bin/true"], held=True)
        self._ask(m.SUBMIT, m.SubmitParameters(job=context))

    def list_verb(self) -> None:
        self._program("list", "--limit", "50")

    def status_verb(self) -> None:
        self._program("status", self._some_job)

    def submit_verb(self) -> None:
        self._program("submit", self._new_name(), "--hold", "--", "/bin/true")

    @property
    def _some_job(self) -> str:
        return self.names[len(self.names) // 2]

    def _new_name(self) -> str:
        self._submitted += 1
        return f"new-{self._submitted:05d}"

    def _ask(self, method: m.Method[Any, Any], parameters: Any) -> None:
        """One call, from the connection to the last byte of the answer. The answer is not decoded, so the time is the
        daemon's alone."""
        call = {"method": method.name, "parameters": parameters, "more": method.stream}
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(self.daemon.socket))
            client.sendall(encode(call))
            client.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while data := client.recv(1 << 18):
                answer += data
        if b'{"error"' in answer:
            sys.exit(f"{method.name} failed: {answer.decode()}")

    def _program(self, *arguments: str) -> None:
        """Runs `fluxgymctl` as a user does."""
        environ = {**os.environ, "FLUXGYM_SOCKET": str(self.daemon.socket)}
        program = [sys.executable, "-m", "fluxgymctl", *arguments]
        subprocess.run(
            program, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environ, timeout=DEADLINE_SECONDS
        )


def milliseconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def side_by_side(few: Measured, many: Measured, work: Callable[[Measured], None], runs: int) -> dict[str, float]:
    """Medians in milliseconds, and their ratio."""
    for one in (few, many):
        work(one)
    pairs = [(milliseconds(lambda: work(few)), milliseconds(lambda: work(many))) for _ in range(runs)]
    with_few, with_many = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "with_few_ms": round(with_few, 3),
        "with_many_ms": round(with_many, 3),
        "ratio": round(with_many / with_few, 2),
    }


def idle_share(process: psutil.Process, seconds: float) -> float:
    """The share of one core that an idle daemon takes."""
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after, ended = process.cpu_times(), time.monotonic()
    return (after.user + after.system - before.user - before.system) / (ended - began)


# ---- 100 clients that follow one log -------------------------------------------------------------------------------


def follow(path: Path, name: str, clients: int) -> None:
    """Runs in a separate process: follows a log with `clients` clients until each stream ends, then prints the last
    offsets."""
    call = encode({"method": m.LOGS.name, "more": True, "parameters": {"name": name, "follow": True}})
    waiting = selectors.DefaultSelector()
    for _ in range(clients):
        client = socket.socket(socket.AF_UNIX)
        client.connect(os.fspath(path))
        client.sendall(call)
        waiting.register(client, selectors.EVENT_READ, bytearray())
    print("following", flush=True)
    offsets = []
    while waiting.get_map():
        for key, _ in waiting.select():
            reader = key.fileobj
            assert isinstance(reader, socket.socket)
            data = reader.recv(1 << 20)
            key.data[:] = (key.data + data)[-200:]  # the end of the last message is enough
            if not data or key.data.endswith(b"}}\0"):  # the last reply, without "continues"
                offsets.append(int(re.findall(rb'"offset":(\d+)', key.data)[-1]))
                waiting.unregister(reader)
                reader.close()
    print(json.dumps(offsets), flush=True)


def log_streams(many: Measured, *, clients: int, lines_a_second: int, seconds: float) -> dict[str, Any]:
    """Measures the lateness of the daemon's event loop while all clients follow a log that grows."""
    daemon = many.daemon
    daemon.submit(Context(name="busy-log", kind=Kind.PROGRAM, program=["/bin/true"], held=True))
    log = daemon.folder("busy-log") / "training.log"
    log.touch()
    program = [sys.executable, __file__, "--follow", "busy-log", str(daemon.socket), str(clients)]
    followers = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert followers.stdout is not None
    followers.stdout.readline()
    process = many.process
    before = process.cpu_times()
    late = settled_lateness(daemon)
    lateness = []
    largest = 0
    began = time.monotonic()
    written = 0
    with log.open("ab", buffering=0) as file:
        for tick in range(int(seconds * TICKS_A_SECOND)):
            written += file.write(LINE * (lines_a_second // TICKS_A_SECOND))
            if tick % TICKS_A_SECOND == TICKS_A_SECOND - 1:
                lateness.append(daemon.info().loop_late or 0.0)
                largest = max(largest, process.memory_info().rss)
            time.sleep(max(0.0, began + (tick + 1) / TICKS_A_SECOND - time.monotonic()))
    took = time.monotonic() - began
    after = process.cpu_times()
    lateness.append(daemon.info().loop_late or 0.0)
    daemon.call(m.STOP, m.JobName(name="busy-log"))
    output, _ = followers.communicate(timeout=120)
    assert json.loads(output) == [written] * clients, "a follower did not receive the entire log"
    return {
        "clients": clients,
        "lines_a_second": round(written / len(LINE) / took),
        "bytes_a_second_to_all": round(written * clients / took),
        "loop_late_before_ms": round(late * 1000, 1),
        "loop_late_ms": round(max(lateness) * 1000, 1),
        "cpu_share": round((after.user + after.system - before.user - before.system) / took, 3),
        "largest_rss_mb": round(largest / 1e6, 1),
    }


def settled_lateness(daemon: RunningDaemon) -> float:
    """The lateness once earlier load is out of its window (fluxgymd/host/lateness.py)."""
    time.sleep(21)
    return daemon.info().loop_late or 0.0


# ---- the report ----------------------------------------------------------------------------------------------------


@contextmanager
def user_manager() -> Iterator[UserManager | None]:
    if os.geteuid() != 0:
        yield None
        return
    with UserManager() as manager:
        yield manager


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    systemd = subprocess.run(
        ["systemctl", "--version"], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    ).stdout.split()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "systemd": systemd[1] if len(systemd) > 1 else "none",
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def goals(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Each goal of issue 3, the figure, and whether the goal is met."""
    ratios = [(name, found[name]["ratio"]) for name in COMPARED]
    return [
        (
            f"time from the start to the end of the first list under {START_SECONDS:g} s",
            f"{found['start_seconds']} s",
            found["start_seconds"] < START_SECONDS,
        ),
        *[
            (f"{name} within {RATIO:g} times its time with {FEW} jobs", f"{ratio} times", ratio <= RATIO)
            for name, ratio in ratios
        ],
        (
            f"event loop at most {LATE_SECONDS * 1000:g} ms late with {found['logs']['clients']} followers",
            f"{found['logs']['loop_late_ms']} ms",
            found["logs"]["loop_late_ms"] <= LATE_SECONDS * 1000,
        ),
        (f"RSS under {RSS_BYTES / 1e6:g} MB", f"{found['rss_mb']} MB", found["rss_mb"] * 1e6 < RSS_BYTES),
        (
            f"idle CPU under {IDLE_SHARE:.1%}",
            f"{found['idle_cpu_percent']} %",
            found["idle_cpu_percent"] < IDLE_SHARE * 100,
        ),
    ]


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        manager = stack.enter_context(user_manager())
        few, many = Measured(folder / "few", FEW, manager), Measured(folder / "many", arguments.jobs, manager)
        starts = []
        for _ in range(4):  # the first one is not warm
            starts.append(many.start())
            many.daemon.stop()
        few.start()
        stack.callback(few.daemon.stop)
        many.start()
        stack.callback(many.daemon.stop)
        found: dict[str, Any] = {
            "machine": machine(),
            "supervisor": many.daemon.info().supervisor.value,
            "jobs": arguments.jobs,
            "start_seconds": round(statistics.median(starts[1:]), 3),
            "rss_mb": round(many.process.memory_info().rss / 1e6, 1),
            "rss_with_few_mb": round(few.process.memory_info().rss / 1e6, 1),
            "fluxgymctl list --limit 50": side_by_side(few, many, Measured.list_verb, arguments.runs),
            "fluxgymctl status": side_by_side(few, many, Measured.status_verb, arguments.runs),
            "fluxgymctl submit": side_by_side(few, many, Measured.submit_verb, arguments.runs),
            # With 50 the daemons send 10 and 50 replies; with 10 they send the same number.
            "List of 50": side_by_side(few, many, lambda one: one.list(50), 5 * arguments.runs),
            "List of 10": side_by_side(few, many, lambda one: one.list(10), 5 * arguments.runs),
            "Describe": side_by_side(few, many, Measured.status, 5 * arguments.runs),
            "Submit": side_by_side(few, many, Measured.submit, 5 * arguments.runs),
        }
        found["idle_cpu_percent"] = round(100 * idle_share(many.process, arguments.idle_seconds), 3)
        found["idle_cpu_with_few_percent"] = round(100 * idle_share(few.process, arguments.idle_seconds), 3)
        found["logs"] = log_streams(many, clients=100, lines_a_second=10_000, seconds=arguments.log_seconds)
        found["rss_afterwards_mb"] = round(many.process.memory_info().rss / 1e6, 1)
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument(
        "--runs", type=int, default=20, help="runs of each verb; a call gets 5 times as many (default 20)"
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=65.0, help="longer than the pause of every periodic task"
    )
    parser.add_argument("--log-seconds", type=float, default=20.0)
    parser.add_argument("--follow", nargs=3, metavar=("NAME", "SOCKET", "CLIENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.follow:
        name, path, clients = arguments.follow
        follow(Path(path), name, int(clients))
        return 0

    with tempfile.TemporaryDirectory(prefix="fg-bench-") as place:
        found = measure(Path(place), arguments)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    file = results / f"control_plane-{datetime.now(UTC):%Y-%m-%d}.json"
    file.write_text(json.dumps(found, indent=2) + "\n")
    print(file.read_text())
    missed = 0
    for goal, value, met in goals(found):
        missed += not met
        print(f"{'met   ' if met else 'MISSED'} {goal}: {value}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
