# SPDX-License-Identifier: Apache-2.0
"""The shim: one process beside each trainer that knows how it ended, also while no daemon runs.

    python -I -S shim.py --contract 1 --folder attempts/NNN --gate-fd N --log training.log --job NAME
                         --directory DIR -- ARGV ...

Invariants. Nothing of the trainer runs before started.json is on the disk, and nothing of that before the gate was
opened. exit.json is written once, after the trainer's end, with what the kernel said and nothing else; it waits for
no one. The lock is held as long as the shim lives. The trainer writes to the log itself, so it outlives the shim.

Standard library only, and all imports stand at the top: at an upgrade the files are replaced under a running shim.
Its environment is the trainer's. What it writes is read by records.py and folder.py of any later version, so the
keys only grow. daemons.md 2.8 is the specification; the numbers in the comments are its steps.
"""

import argparse
import array
import contextlib
import ctypes
import fcntl
import json
import os
import re
import resource
import signal
import socket
import sys
import termios
import time
from typing import Any, NoReturn

CONTRACT = 1
ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WATCHED = ENDINGS | {signal.SIGCHLD}
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
LOCK_TAKEN = 75  # exit status: another shim holds this folder (EX_TEMPFAIL of sysexits.h)

POLL_SECONDS = 0.25
LOCK_SECONDS = 2.0  # a daemon that probes the lock holds it for a moment
RECORD_SECONDS = 600.0  # how long a full disk may keep the exit record waiting
LEAVING_SECONDS = 2.0  # for workers that end just after the trainer's own process
DRAIN_SECONDS = 5.0
STALL_SECONDS = 1.0
OOM_SCORE_RAISE = 300

Json = dict[str, Any]

FAILPOINT_PASSES: dict[str, int] = {}


def main() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # 8: noted in the loop below, never acted upon
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the kernel throws exit statuses away
    options = parse(sys.argv[1:])
    become_supervisor()
    keep_only_the_gate(options.gate_fd)
    folder = os.open(options.folder, os.O_RDONLY | os.O_DIRECTORY)
    failpoint("shim.begins")
    locked = take_lock(folder)
    failpoint("shim.locked")
    write_record(folder, "shim.json", self_record(locked=locked))
    failpoint("shim.known")
    if not gate_opens(options.gate_fd):
        write_record(folder, "exit.json", exit_record({"kind": "never-started"}, term_seen=bool(ending_pends())))
        return 0
    failpoint("shim.gate_opened")
    try:
        attempt = Attempt(options=options, folder=folder)
    except OSError as error:  # a log that cannot be opened is as good as a program that cannot be started
        write_record(folder, "exit.json", exit_record({"kind": "exec-failed", "errno": error.errno}, term_seen=False))
        return 0
    attempt.run()
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shim.py", allow_abbrev=False)
    parser.add_argument("--contract", type=int, choices=[CONTRACT], required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--gate-fd", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--journal", default="/run/systemd/journal/socket")
    parser.add_argument("argv", nargs="+")
    return parser.parse_args(arguments)


def become_supervisor() -> None:  # 1
    with contextlib.suppress(PermissionError):  # it is the leader of a group already
        os.setsid()
    os.umask(0o077)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def keep_only_the_gate(gate: int) -> None:
    """Whatever else the daemon may have let slip through its exec stays out of the trainer too."""
    os.closerange(3, gate)
    os.closerange(gate + 1, os.sysconf("SC_OPEN_MAX"))


def take_lock(folder: int) -> bool:  # 2
    """Holds the folder's lock until this process ends. False where the volume carries no locks."""
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                print("fluxgym shim: another one holds this attempt's lock.", file=sys.stderr, flush=True)
                sys.exit(LOCK_TAKEN)
            time.sleep(0.05)
        except OSError:
            return False


def gate_opens(gate: int) -> bool:  # 4
    """Says that it waits, and waits for the daemon's word. False at its death, and if a stop came in the meantime."""
    with contextlib.suppress(OSError):  # the daemon has died already: the end of file comes next
        os.write(gate, b"w")
    opened = os.read(gate, 1) == b"g"
    os.close(gate)
    return opened and not ending_pends()


def ending_pends() -> set[signal.Signals]:
    return {signal.Signals(number) for number in signal.sigpending()} & ENDINGS


# --- the trainer


class Attempt:
    """One trainer from its start to its exit record."""

    def __init__(self, *, options: argparse.Namespace, folder: int) -> None:
        self.argv: list[str] = options.argv
        self.directory: str = options.directory
        self.folder = folder
        self.log = os.open(options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.journal = JournalCopier(log=options.log, job=options.job, address=options.journal)
        self.started_at = time.time()
        self.oom_kills = oom_kills()
        self.term_seen = False
        self.alone = False
        self.status: int | None = None

    def run(self) -> None:
        pid, failure = self.start()
        failpoint("shim.trainer_runs")
        while self.status is None:
            self.wait_for_something(pid)
            self.journal.copy()
        outcome = {"kind": "exec-failed", "errno": failure} if failure else outcome_of(self.status)
        with contextlib.suppress(OSError):
            os.fsync(self.log)
        failpoint("shim.trainer_ended")
        self.write_exit(outcome)
        failpoint("shim.exit_durable")
        self.leave(pid)
        failpoint("shim.leaves")

    def start(self) -> tuple[int, int]:  # 5 and 6
        """The trainer's pid, and the errno of its exec (0: it runs).

        The forked process waits at a gate of its own until started.json is on the disk; if the shim dies before,
        it leaves at the end of file. So no started.json means that no line of the trainer ran.
        """
        go_read, go_write = os.pipe()
        failed_read, failed_write = os.pipe()
        failpoint("shim.forks")
        pid = os.fork()
        if pid == 0:
            os.close(go_write)
            self.become_trainer(go=go_read, failed=failed_write)
        os.close(go_read)
        os.close(failed_write)
        failpoint("shim.forked")
        started = {"pid": pid, "start": start_time(pid), "cgroup": cgroup(), "startedAt": self.started_at}
        try:
            write_record(self.folder, "started.json", {"contract": CONTRACT, **started})
        except OSError as error:
            os.close(go_write)
            return pid, error.errno or 1
        failpoint("shim.started_durable")
        os.write(go_write, b"g")
        os.close(go_write)
        with os.fdopen(failed_read, "rb") as failed:
            return pid, int(failed.read() or 0)  # ends when the exec closed the other end

    def become_trainer(self, *, go: int, failed: int) -> NoReturn:
        try:
            if os.read(go, 1) != b"g":
                os._exit(0)
            failpoint("shim.child_goes")
            os.chdir(self.directory)
            for number in (*WATCHED, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            raise_oom_score()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(self.log, 1)
            os.dup2(self.log, 2)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(self.argv[0], self.argv)
        except OSError as error:
            os.write(failed, str(error.errno).encode())
        finally:
            os._exit(127)

    def wait_for_something(self, pid: int) -> None:  # 7
        """Takes one signal or lets a moment pass; reaps whatever has ended, orphans too."""
        seen = signal.sigtimedwait(WATCHED, POLL_SECONDS)
        if seen is not None and seen.si_signo in ENDINGS:
            # 8: systemd tells every process of a scope itself; handed on, the trainer would get it twice.
            self.term_seen = True
        with contextlib.suppress(ChildProcessError):
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended == 0:
                    return
                if ended == pid:
                    self.status = status
        self.alone = True

    def write_exit(self, outcome: Json) -> None:  # 10
        """Tries for as long as it may be a full disk: the record is why this process exists. Where its folder was
        deleted there is nobody to read it."""
        self.term_seen = self.term_seen or bool(ending_pends())
        record = exit_record(
            outcome,
            term_seen=self.term_seen,
            started_at=self.started_at,
            oom_kills=max(0, oom_kills() - self.oom_kills),
        )
        end = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                return write_record(self.folder, "exit.json", record)
            except OSError as error:
                if time.monotonic() > end or os.fstat(self.folder).st_nlink == 0:
                    raise
                print(f"fluxgym shim: exit.json cannot be written: {error}.", file=sys.stderr, flush=True)
                time.sleep(1.0)

    def leave(self, pid: int) -> None:  # 9
        """Gives workers that are about to end, and the last lines on their way to journald, a moment."""
        end = time.monotonic() + LEAVING_SECONDS
        while not self.alone and time.monotonic() < end:
            self.wait_for_something(pid)
        self.journal.drain()


def outcome_of(status: int) -> Json:
    """What waitpid said. Code and signal stay apart: 137 is a code, not a signal (containerd #8381)."""
    if os.WIFSIGNALED(status):
        return {"kind": "signaled", "signal": os.WTERMSIG(status), "core": os.WCOREDUMP(status)}
    return {"kind": "exited", "code": os.WEXITSTATUS(status)}


def raise_oom_score() -> None:
    """The trainer shall be chosen before the shim and the daemon when memory runs out."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        score = min(1000, int(file.read()) + OOM_SCORE_RAISE)
        file.seek(0)
        file.write(str(score))


# --- the records


def self_record(*, locked: bool) -> Json:  # 3
    pid = os.getpid()
    return {
        "contract": CONTRACT,
        "pid": pid,
        "start": start_time(pid),
        "bootId": boot_id(),
        "pidNamespace": os.readlink("/proc/self/ns/pid"),
        "locked": locked,
    }


def exit_record(outcome: Json, *, term_seen: bool, started_at: float | None = None, oom_kills: int = 0) -> Json:
    record: Json = {"contract": CONTRACT, **outcome, "termSeen": term_seen, "bootId": boot_id()}
    record["endedAt"] = time.time()
    if started_at is not None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        record["startedAt"] = started_at
        record["oomKills"] = oom_kills
        record["maxRss"] = used.ru_maxrss * 1024  # getrusage(2) counts in KiB
        record["userSeconds"] = used.ru_utime
        record["systemSeconds"] = used.ru_stime
    return record


def write_record(folder: int, name: str, record: Json) -> None:
    """The whole file or none of it, on the disk when this returns (Pillai et al., OSDI 2014)."""
    fresh = f"{name}.new"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder)
    with os.fdopen(file, "wb") as stream:
        failpoint("shim.record_opened")
        stream.write(json.dumps(record).encode() + b"\n")
        stream.flush()
        failpoint("shim.record_written")
        os.fsync(file)
    failpoint("shim.record_synced")
    os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    failpoint("shim.record_renamed")
    os.fsync(folder)


def failpoint(name: str) -> None:
    """SIGKILL to this process where FLUXGYM_FAILPOINTS says so (`NAME=kill` or `NAME=kill:PASS`): the small copy of
    fluxgymd/failpoints.py, which tells more."""
    rules = os.environ.get("FLUXGYM_FAILPOINTS")
    if not rules:
        return
    FAILPOINT_PASSES[name] = FAILPOINT_PASSES.get(name, 0) + 1
    wanted = [f"{name}=kill:{FAILPOINT_PASSES[name]}", *([f"{name}=kill"] if FAILPOINT_PASSES[name] == 1 else [])]
    if not set(wanted).isdisjoint(rules.split(",")):
        os.write(2, f"failpoint {name}: kill -9\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


# --- what the kernel says (proc(5)); the daemon has its own, since this file stands alone


def start_time(pid: int) -> int:
    """Clock ticks since boot: field 22 of stat, counted behind the name, which may hold blanks and brackets."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def cgroup() -> str | None:
    """This process's cgroup below the cgroup2 mount; None on a machine with cgroup v1 alone."""
    with open("/proc/self/cgroup") as file:
        return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), None)


def oom_kills() -> int:
    """How many processes of this cgroup the kernel has killed for want of memory; 0 where it is not counted."""
    try:
        with open("/proc/self/mountinfo") as mounts:
            tree = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
        with open(f"{tree}{cgroup()}/memory.events") as events:
            return next(int(line.split()[1]) for line in events if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return 0


# --- the copy of the log in the journal


class JournalCopier:
    """Sends new lines of the log to journald, which knows by the sender's cgroup to whose unit they belong.

    The log file is the queue: what journald does not take now is tried again, until it lags by LAG_BYTES; then the
    middle is skipped, and stands in training.log alone. Protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL.
    """

    ROUND_BYTES = 256 * 1024
    LAG_BYTES = 4 * 1024 * 1024
    LINE_BYTES = 16 * 1024
    BAR_SECONDS = 1.0

    def __init__(self, *, log: str, job: str, address: str) -> None:
        self.log = os.open(log, os.O_RDONLY)
        self.offset = os.fstat(self.log).st_size
        self.address = address
        self.fields = f"PRIORITY=6\nSYSLOG_IDENTIFIER=fluxgym-{job}\nFLUXGYM_JOB={job}\nMESSAGE=".encode()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.bar_due = 0.0
        self.away = False

    def copy(self, *, at_the_end: bool = False) -> bool:
        """One round. True if nothing is left to copy."""
        try:
            size = os.fstat(self.log).st_size
            if size < self.offset:
                self.offset = 0  # somebody has cut the log
            if size - self.offset > self.LAG_BYTES:
                self.offset = size - self.ROUND_BYTES
            data = os.pread(self.log, self.ROUND_BYTES, self.offset)
        except OSError:
            return True
        lines = split(data, at_the_end=at_the_end, limit=self.LINE_BYTES)
        for number, (taken, text, is_bar) in enumerate(lines, start=1):
            if text.strip() and self.wanted(is_bar=is_bar, newest=number == len(lines)):
                if not self.send(text):
                    return False
                if is_bar:
                    self.bar_due = time.monotonic() + self.BAR_SECONDS
            self.offset += taken
        return not lines

    def wanted(self, *, is_bar: bool, newest: bool) -> bool:
        """Lines always; of a progress bar that redraws itself the newest state, and that at most once a second."""
        return not is_bar or (newest and time.monotonic() >= self.bar_due)

    def send(self, text: bytes) -> bool:
        """False if journald is away or has enough at present."""
        message = text.decode(errors="replace").encode()
        try:
            self.socket.sendto(self.fields + message + b"\n", self.address)
            self.away = False
        except OSError as error:
            self.away = not isinstance(error, BlockingIOError)
            return False
        return True

    def drain(self) -> None:
        """The last lines, and a bounded wait until journald has taken them: it looks the sender's unit up in /proc
        when it reads a line, so the lines of a sender that has left already are not found by their unit."""
        end = time.monotonic() + DRAIN_SECONDS
        stalled = time.monotonic() + STALL_SECONDS
        taken = (self.offset, 0)
        while not (self.copy(at_the_end=True) and not self.unread()) and not self.away:
            now = time.monotonic()
            if taken != (self.offset, self.unread()):
                taken, stalled = (self.offset, self.unread()), now + STALL_SECONDS
            if now > min(end, stalled):
                return
            time.sleep(0.001)
        if not self.away:
            time.sleep(0.05)  # it has read the last line; a moment to look up its sender

    def unread(self) -> int:
        """Bytes that wait in the receiver's queue: SIOCOUTQ, which is TIOCOUTQ (unix(7))."""
        answer = array.array("i", [0])
        try:
            fcntl.ioctl(self.socket, termios.TIOCOUTQ, answer)
        except OSError:
            return 0
        return answer[0]


LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")


def split(data: bytes, *, at_the_end: bool, limit: int) -> list[tuple[int, bytes, bool]]:
    r"""Cuts output into lines: (bytes taken, text, whether it is a state of a progress bar).

    A line ends with \n or \r\n; text that ends with \r alone is a bar. An unfinished tail is held back, unless it is
    the end or longer than `limit`. A \r at the very end is held back too: a \n may follow.
    """
    lines: list[tuple[int, bytes, bool]] = []
    for match in LINE.finditer(data):
        text, ending = match.groups()
        while len(text) > limit:
            lines.append((limit, text[:limit], False))
            text = text[limit:]
        finished = ending in (b"\n", b"\r\n") or (ending == b"\r" and match.end() < len(data))
        if match.group() and (finished or at_the_end):
            lines.append((len(text) + len(ending), text, ending == b"\r"))
    return lines


if __name__ == "__main__":
    sys.exit(main())
