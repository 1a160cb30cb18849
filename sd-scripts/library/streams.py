# SPDX-License-Identifier: Apache-2.0
"""stdout and stderr that never end a training, whatever happens to the file or pipe behind them.

The log's disk may be full, or the reader of a pipe may have exited. Output that cannot be written is kept, up to
KEPT_BYTES, and is written first as soon as writing works again. The end of stderr's unwritten output also goes to the
in-memory file that FLUXGYM_LAST_WORDS names, where the daemon finds the error that ended a training on a full disk.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Mapping

KEPT_BYTES = 64 * 1024
LAST_WORDS_BYTES = 2000
LAST_WORDS = "FLUXGYM_LAST_WORDS"
MEMORY = "/memfd:fluxgym-last-words"
"""What the link in /proc must point to. In another pid namespace, for example, the path may name any other file."""


def settle(environ: Mapping[str, str]) -> None:
    """Replaces sys.stdout and sys.stderr with such streams. They write UTF-8 whatever the locale, line by line, since
    the log is read while it is written."""
    last_words = _last_words(environ.get(LAST_WORDS))
    sys.stdout = _text(Patient(1))
    sys.stderr = _text(Patient(2, last_words=last_words))


def _text(raw: Patient) -> io.TextIOWrapper:
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _last_words(path: str | None) -> int | None:
    """A descriptor of the file for last words; None if there is no such file."""
    try:
        if path is None or not os.readlink(path).startswith(MEMORY):
            return None
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None


class Patient(io.RawIOBase):
    """A raw stream that writes to a descriptor without owning it, and never raises if writing fails."""

    def __init__(self, descriptor: int, *, last_words: int | None = None) -> None:
        """`last_words`: a descriptor of a file that always holds the end of the unwritten output, from the beginning
        of a line."""
        self._descriptor = descriptor
        self._last_words = last_words
        self._lock = threading.RLock()
        self._waiting = bytearray()
        self._begun = b""
        """What was written of the present line: a disk may become full in the middle of one."""
        self._lost = 0
        """How many bytes were dropped."""

    @property
    def name(self) -> int:
        """The descriptor, like the name of a FileIO that was opened by one."""
        return self._descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Accepts all of `data`: writes it, or keeps it for later."""
        with self._lock:
            waited = bool(self._waiting)
            self._waiting += data
            self._send()
            if len(self._waiting) > KEPT_BYTES:
                self._forget()
            if self._waiting or waited:
                self._leave_last_words()
        return len(data)

    def _send(self) -> None:
        try:
            if self._lost:
                os.write(self._descriptor, f"\n[{self._lost} bytes of output are missing here]\n".encode())
                self._lost = 0
            while self._waiting:
                count = os.write(self._descriptor, self._waiting)
                self._begun = (self._begun + self._waiting[:count]).rpartition(b"\n")[2][-LAST_WORDS_BYTES:]
                del self._waiting[:count]
        except OSError:
            return

    def _forget(self) -> None:
        """Drops the oldest output down to half of KEPT_BYTES, so that this does not happen at each line."""
        count = len(self._waiting) - KEPT_BYTES // 2
        del self._waiting[:count]
        self._lost += count

    def _leave_last_words(self) -> None:
        if self._last_words is None:
            return
        words = (self._begun + self._waiting)[-LAST_WORDS_BYTES:] if self._waiting else b""
        with contextlib.suppress(OSError):
            os.ftruncate(self._last_words, len(words))
            os.pwrite(self._last_words, words, 0)
