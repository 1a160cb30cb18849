# SPDX-License-Identifier: Apache-2.0
"""The shim: a process beside each trainer that records how the trainer ended, even while no daemon runs.

    python -I -S shim.py --contract 1 --folder attempts/NNN --gate-fd N --log training.log --log-limit BYTES
                         --job NAME --directory DIR -- ARGV ...

Invariants. No instruction of the trainer runs before started.json is on the disk, and started.json is not written
before the gate is open. exit.json is written once, after the trainer's end, and holds only what was observed; it
waits neither for workers nor for journald. Disk space for it is reserved before the gate opens. The lock is held as
long as the shim lives. The trainer writes to the log directly, so its output doesn't depend on the shim; the shim
writes nothing there once the trainer runs.

The shim uses only the standard library and has all imports at the top, because an upgrade replaces the files under a
running shim. It has the trainer's environment. attempts/records_on_disk.py of any later version reads what it writes,
so keys may be added but never removed. docs/decisions/attempts.md explains the design.
"""

import argparse
import array
import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import os
import re
import resource
import signal
import socket
import stat
import sys
import termios
import time
from collections.abc import Iterable
from typing import Any, NoReturn

CONTRACT = 1
ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WISHES = {
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
}  # they may be sent to the whole scope, and must not end the shim, which has to write the exit record
WATCHED = ENDINGS | WISHES | {signal.SIGCHLD}
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
LOCK_TAKEN = 75  # exit status if another shim holds the lock (EX_TEMPFAIL of sysexits.h)

POLL_SECONDS = 0.25
LOCK_SECONDS = 2.0  # a daemon that probes the lock holds it for a moment
RECORD_BYTES = 16384  # more than an exit record needs: JSON takes 6 bytes for some characters of the last words
LAST_WORDS_BYTES = 2000
LAST_WORDS = "FLUXGYM_LAST_WORDS"  # names a file in memory for the output that a full disk refuses
FULL_BYTES = 64 * 1024  # a disk with less free space counts as full: output is written in chunks
LEAVING_SECONDS = 2.0  # for workers that end shortly after the trainer's own process
DRAIN_SECONDS = 5.0
STALL_SECONDS = 1.0
OOM_SCORE_RAISE = 300

Json = dict[str, Any]

FAILPOINT_PASSES: dict[str, int] = {}


def main() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # wait_for_something notes them; they have no other effect
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, the kernel discards exit statuses
    options = parse(sys.argv[1:])
    become_supervisor()
    keep_only_the_gate(options.gate_fd)
    folder = os.open(options.folder, os.O_RDONLY | os.O_DIRECTORY)
    failpoint("shim.begins")
    locked = take_lock(folder)
    failpoint("shim.locked")
    reserve_record(folder, "exit.json")
    write_record(folder, "shim.json", self_record(locked=locked))
    failpoint("shim.known")
    if not gate_opens(options.gate_fd):
        write_record(folder, "exit.json", exit_record({"kind": "never-started"}, seen=ending_pends()))
        return 0
    failpoint("shim.gate_opened")
    try:
        attempt = TrainerRun(options=options, folder=folder)
    except OSError as error:  # a log that can't be opened is treated like a program that can't be started
        write_record(folder, "exit.json", exit_record({"kind": "exec-failed", "errno": error.errno}))
        return 0
    attempt.run()
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shim.py", allow_abbrev=False)
    parser.add_argument("--contract", type=int, choices=[CONTRACT], required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--gate-fd", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--log-limit", type=int, default=0)
    parser.add_argument("--job", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--journal", default="/run/systemd/journal/socket")
    parser.add_argument("argv", nargs="+")
    return parser.parse_args(arguments)


def become_supervisor() -> None:
    """Makes this process the leader of a session and a subreaper: orphans of the trainer become its children."""
    with contextlib.suppress(PermissionError):  # already the leader of a process group
        os.setsid()
    os.umask(0o077)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def keep_only_the_gate(gate: int) -> None:
    """Closes all descriptors but 0 to 2 and the gate: none that leaked from the daemon must reach the trainer."""
    os.closerange(3, gate)
    os.closerange(gate + 1, os.sysconf("SC_OPEN_MAX"))


def take_lock(folder: int) -> bool:
    """Takes the folder's lock, which is held until this process ends. False if the volume supports no locks. Exits if
    another process still holds the lock after LOCK_SECONDS."""
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                print("fluxgym shim: another shim holds this attempt's lock.", file=sys.stderr, flush=True)
                sys.exit(LOCK_TAKEN)
            time.sleep(0.05)
        except OSError:
            return False


def gate_opens(gate: int) -> bool:
    """Reports that the shim is waiting, and waits until the daemon opens the gate. False if the daemon dies or closes
    the gate, or if a stop has arrived in the meantime."""
    with contextlib.suppress(OSError):  # the daemon is dead already, and the read gets an end of file
        os.write(gate, b"w")
    opened = os.read(gate, 1) == b"g"
    os.close(gate)
    return opened and not ending_pends()


def ending_pends() -> set[signal.Signals]:
    return {signal.Signals(number) for number in signal.sigpending()} & ENDINGS


# --- the trainer


class TrainerRun:
    """A trainer, from its start to its exit record."""

    def __init__(self, *, options: argparse.Namespace, folder: int) -> None:
        self.argv: list[str] = options.argv
        self.directory: str = options.directory
        self.folder = folder
        self.log = os.open(options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.journal = JournalCopier(log=options.log, job=options.job, address=options.journal)
        self.cutter = LogCutter(log=self.log, limit=options.log_limit)
        self.last_words = memory_file("fluxgym-last-words")
        self.started_at = time.time()
        self.oom_kills = oom_kills()
        self.seen: set[signal.Signals] = set()
        self.alone = False
        self.status: int | None = None

    def run(self) -> None:
        pid, failure = self.start()
        failpoint("shim.trainer_runs")
        while self.status is None:
            self.wait_for_something(pid)
            self.journal.copy()
            self.cutter.cut()
        outcome = {"kind": "exec-failed", "errno": failure} if failure else outcome_of(self.status)
        with contextlib.suppress(OSError):
            os.fsync(self.log)
        failpoint("shim.trainer_ended")
        self.write_exit(outcome)
        failpoint("shim.exit_durable")
        self.leave(pid)
        failpoint("shim.leaves")

    def start(self) -> tuple[int, int]:
        """Starts the trainer. Returns its pid and the errno of its exec (0: it runs).

        The forked process waits at a gate of its own until started.json is on the disk. If the shim dies before that,
        the process reads an end of file and exits. So if there is no started.json, no instruction of the trainer ran.
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
            return pid, int(failed.read() or 0)  # returns once a successful exec has closed the other end

    def become_trainer(self, *, go: int, failed: int) -> NoReturn:
        try:
            if os.read(go, 1) != b"g":
                os._exit(0)
            failpoint("shim.child_goes")
            os.chdir(self.directory)
            # A path and not a descriptor, which a launcher would not pass on.
            if self.last_words is not None:
                os.environ[LAST_WORDS] = f"/proc/{os.getppid()}/fd/{self.last_words}"
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)  # undoes what Python ignores and what was inherited
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

    def wait_for_something(self, pid: int) -> None:
        """Waits for one signal, at most POLL_SECONDS; then reaps all children that have ended, including orphans."""
        seen = signal.sigtimedwait(WATCHED, POLL_SECONDS)
        if seen is not None and seen.si_signo in ENDINGS:
            # Not passed on: systemd signals every process of a scope, so the trainer would get it twice.
            self.seen.add(signal.Signals(seen.si_signo))
        with contextlib.suppress(ChildProcessError):
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended == 0:
                    return
                if ended == pid:
                    self.status = status
        self.alone = True

    def write_exit(self, outcome: Json) -> None:
        """Retries until the disk accepts the record, which is the purpose of this process. OSError if the folder was
        deleted: nobody could read the record. Errors are reported to journald alone, since the log may be on the same
        disk."""
        record = exit_record(
            outcome,
            seen=self.seen | ending_pends(),
            started_at=self.started_at,
            oom_kills=max(0, oom_kills() - self.oom_kills),
        )
        record["diskFull"] = is_full(self.log)
        if self.last_words is not None:
            record["lastWords"] = os.pread(self.last_words, LAST_WORDS_BYTES, 0).decode(errors="replace")
        told = False
        while True:
            try:
                return write_record(self.folder, "exit.json", record)
            except OSError as error:
                if os.fstat(self.folder).st_nlink == 0:
                    raise
                if not told:
                    self.journal.send(f"fluxgym shim: exit.json cannot be written yet: {error}".encode())
                told = True
                time.sleep(1.0)

    def leave(self, pid: int) -> None:
        """Waits briefly for workers that are about to end, and for journald to accept the last lines."""
        end = time.monotonic() + LEAVING_SECONDS
        while not self.alone and time.monotonic() < end:
            self.wait_for_something(pid)
        self.journal.drain()


def outcome_of(status: int) -> Json:
    """The result of waitpid. Code and signal stay separate: 137 is a code, not a signal (containerd #8381)."""
    if os.WIFSIGNALED(status):
        return {"kind": "signaled", "signal": os.WTERMSIG(status), "core": os.WCOREDUMP(status)}
    return {"kind": "exited", "code": os.WEXITSTATUS(status)}


def memory_file(name: str) -> int | None:
    """A file in memory; None if the machine forbids it, as the sysctl vm.memfd_noexec and some containers do."""
    try:
        return os.memfd_create(name)
    except OSError:
        return None


def raise_oom_score() -> None:
    """Makes the kernel choose the trainer before the shim and the daemon when memory runs out."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        score = min(1000, int(file.read()) + OOM_SCORE_RAISE)
        file.seek(0)
        file.write(str(score))


# --- the records


def self_record(*, locked: bool) -> Json:
    pid = os.getpid()
    return {
        "contract": CONTRACT,
        "pid": pid,
        "start": start_time(pid),
        "bootId": boot_id(),
        "pidNamespace": os.readlink("/proc/self/ns/pid"),
        "locked": locked,
    }


def exit_record(
    outcome: Json, *, seen: Iterable[signal.Signals] = (), started_at: float | None = None, oom_kills: int = 0
) -> Json:
    """The contents of exit.json. `seen`: the signals that asked this process to end. Daemons that don't know
    `endingsSeen` yet read `termSeen`."""
    record: Json = {"contract": CONTRACT, **outcome, "termSeen": bool(seen), "bootId": boot_id()}
    record["endingsSeen"] = sorted(seen)
    record["endedAt"] = time.time()
    if started_at is not None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        record["startedAt"] = started_at
        record["oomKills"] = oom_kills
        record["maxRss"] = used.ru_maxrss * 1024  # getrusage(2) counts in KiB
        record["userSeconds"] = used.ru_utime
        record["systemSeconds"] = used.ru_stime
    return record


def reserve_record(folder: int, name: str) -> None:
    """Reserves disk space for a record, so that a disk that fills up later doesn't refuse it.

    Blanks are written instead of only allocating blocks: on ext4, XFS and tmpfs, overwriting data in place needs no
    more space, while the first write into an allocated block may. A copy-on-write file system needs a new block even
    so; there the record waits until it gets one.
    """
    with os.fdopen(open_fresh(folder, f"{name}.new"), "wb") as stream:
        stream.write(b" " * RECORD_BYTES)
        stream.flush()
        os.fsync(stream.fileno())
    os.fsync(folder)


def write_record(folder: int, name: str, record: Json) -> None:
    """Writes a record atomically and durably (Pillai et al., OSDI 2014), into the space that was reserved for it, if
    there is any."""
    fresh = f"{name}.new"
    with os.fdopen(open_fresh(folder, fresh), "wb") as stream:
        failpoint("shim.record_opened")
        stream.write(json.dumps(record).encode() + b"\n")
        stream.truncate()
        failpoint("shim.record_written")
        os.fsync(stream.fileno())
    failpoint("shim.record_synced")
    clear_name(folder, name)
    os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    failpoint("shim.record_renamed")
    os.fsync(folder)


def open_fresh(folder: int, fresh: str) -> int:
    """Opens the file that will be renamed to a record. An existing regular file keeps its blocks."""
    clear_name(folder, fresh)
    return os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)


def clear_name(folder: int, name: str) -> None:
    """Renames anything at this name that isn't a regular file to NAME.moved-N. A FIFO would block the writer, a link
    would be followed, and a folder can't be replaced by a file."""
    try:
        if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return
    except FileNotFoundError:
        return
    taken = set(os.listdir(folder))
    free = next(other for n in itertools.count(1) if (other := f"{name}.moved-{n}") not in taken)
    os.rename(name, free, src_dir_fd=folder, dst_dir_fd=folder)


def failpoint(name: str) -> None:
    """Kills this process with SIGKILL if FLUXGYM_FAILPOINTS says so (`NAME=kill` or `NAME=kill:PASS`). This is a
    reduced copy of fluxgymd/failpoints.py, which explains more."""
    rules = os.environ.get("FLUXGYM_FAILPOINTS")
    if not rules:
        return
    FAILPOINT_PASSES[name] = FAILPOINT_PASSES.get(name, 0) + 1
    wanted = [f"{name}=kill:{FAILPOINT_PASSES[name]}", *([f"{name}=kill"] if FAILPOINT_PASSES[name] == 1 else [])]
    if not set(wanted).isdisjoint(rules.split(",")):
        os.write(2, f"failpoint {name}: kill -9\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


# --- facts from the kernel (proc(5)); the daemon has its own functions, since this file imports nothing of it


def start_time(pid: int) -> int:
    """Clock ticks since boot: field 22 of stat. Counting starts after the name, which may contain blanks and
    parentheses."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def cgroup() -> str | None:
    """The path of this process's cgroup below the cgroup2 mount; None on a machine that has only cgroup v1."""
    with open("/proc/self/cgroup") as file:
        return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), None)


def is_full(file: int) -> bool:
    """Whether the disk of an open file has no space left that this user may use."""
    try:
        disk = os.fstatvfs(file)
    except OSError:
        return False
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return free * disk.f_frsize < FULL_BYTES


def oom_kills() -> int:
    """How many processes of this cgroup the kernel has killed for lack of memory; 0 where it doesn't count them."""
    try:
        with open("/proc/self/mountinfo") as mounts:
            tree = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
        with open(f"{tree}{cgroup()}/memory.events") as events:
            return next(int(line.split()[1]) for line in events if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return 0


# --- the length of the log


class LogCutter:
    """Punches a hole into the middle of a log that has grown too long. No offset in the log changes.

    It keeps a quarter of the limit from the beginning of the log, and half of the limit from its end, which is more
    than a reader takes at once. See docs/decisions/0090-long-logs-and-room.md.
    """

    PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (linux/falloc.h)
    PIECE_BYTES = 1024 * 1024  # a multiple of every file system's block size

    def __init__(self, *, log: int, limit: int) -> None:
        self.log = log
        self.limit = limit
        self.fallocate = ctypes.CDLL(None, use_errno=True).fallocate
        self.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)

    def cut(self) -> None:
        if not self.limit:
            return
        facts = os.fstat(self.log)
        # The minimum, because XFS preallocates blocks beyond the end of the file.
        if min(facts.st_size, facts.st_blocks * 512) <= self.limit:
            return
        begin = self.whole(self.limit // 4)
        end = self.whole(facts.st_size - self.limit // 2)
        if end > begin and self.fallocate(self.log, self.PUNCH_HOLE, begin, end - begin) != 0:
            self.limit = 0 if ctypes.get_errno() in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM) else self.limit

    def whole(self, size: int) -> int:
        return size - size % self.PIECE_BYTES


# --- the copy of the log in the journal


class JournalCopier:
    """Sends new lines of the log to journald, which assigns them to a unit by the sender's cgroup.

    The log file is the queue: lines that journald doesn't accept are sent again later. If the copy lags by more than
    LAG_BYTES, it skips to the last ROUND_BYTES, and the lines between are only in training.log. Protocol:
    systemd.io/JOURNAL_NATIVE_PROTOCOL.
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
        """Sends at most ROUND_BYTES of the log. True if nothing is left to copy."""
        try:
            size = os.fstat(self.log).st_size
            if size < self.offset:
                self.offset = 0  # the log was truncated
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
        """Whether to send a line: always, but a state of a progress bar only if it is the newest, and at most once in
        BAR_SECONDS."""
        return not is_bar or (newest and time.monotonic() >= self.bar_due)

    def send(self, text: bytes) -> bool:
        """Sends one line. False if journald is away or its queue is full."""
        message = text.decode(errors="replace").encode()
        try:
            self.socket.sendto(self.fields + message + b"\n", self.address)
            self.away = False
        except OSError as error:
            self.away = not isinstance(error, BlockingIOError)
            return False
        return True

    def drain(self) -> None:
        """Sends the last lines, and waits until journald has read them: at most DRAIN_SECONDS in all, and at most
        STALL_SECONDS without progress. journald looks up the sender's unit in /proc when it reads a line, so lines
        that it reads after this process has exited have no unit."""
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
            time.sleep(0.05)  # journald has read the last line, and needs a moment to look up its sender

    def unread(self) -> int:
        """Bytes that wait in the receiver's queue (SIOCOUTQ, which equals TIOCOUTQ; unix(7)); 0 if unknown."""
        answer = array.array("i", [0])
        try:
            fcntl.ioctl(self.socket, termios.TIOCOUTQ, answer)
        except OSError:
            return 0
        return answer[0]


LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")


def split(data: bytes, *, at_the_end: bool, limit: int) -> list[tuple[int, bytes, bool]]:
    r"""Splits output into lines: (bytes taken, text, whether it is a state of a progress bar).

    A line ends with \n or \r\n; text that ends with \r alone is a progress bar. An unfinished tail is held back,
    except for full pieces of `limit` bytes, unless `at_the_end`. A \r at the very end is held back too, since a \n
    may follow.
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
