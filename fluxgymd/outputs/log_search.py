# SPDX-License-Identifier: Apache-2.0
"""Searches a job's log in pieces that take bounded time and memory, whatever the log and the pattern.

RE2 takes time linear in the text. Python's `re` may take exponential time, and it cannot be interrupted
(docs/decisions/0109-what-a-job-has-written.md).
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import re2

from fluxgym.errors import InvalidSetting, StorageFailed
from fluxgym.files import open_for_reading
from fluxgym.protocol.output_messages import LogMatch
from fluxgym.quoting import short
from fluxgymd.core.measures.log_lines import last_state
from fluxgymd.store import holes

PIECE_BYTES = 1 << 18
"""How many bytes one call reads. The rest of a longer line is searched as a separate line."""
MOST_MATCHES = 1000
"""How many matches one call finds."""
LONGEST_TEXT = 1000
"""How many characters of a line are sent."""
LONGEST_PATTERN = 1000


class LogSearch:
    """One search. `done`: it has reached what was the end of the log at that time."""

    def __init__(self, log: Path, text: str, *, regex: bool, after: int | None) -> None:
        """InvalidSetting if the text is not a valid pattern. `after`: finds only lines that begin after this
        offset."""
        self._log = log
        self._pattern = _pattern(text, regex=regex)
        self._regex = regex
        self._after = -1 if after is None else after
        self._offset = max(0, self._after)
        self._line: int | None = 1 if after is None else None
        """The number of the line that begins at the offset."""
        self.done = False

    def go_on(self) -> list[LogMatch]:
        """Searches the next piece. Blocks on the disk."""
        try:
            with open_for_reading(self._log) as file:
                data = self._next(file.fileno())
        except FileNotFoundError:
            data = None
        except OSError as error:
            raise StorageFailed(f"{self._log} cannot be read: {error.strerror or error}.") from None
        if data is None:
            self.done = True
            return []
        if not self._regex and self._pattern.search(data) is None:  # the usual case: the lines need not be examined
            self._pass_over(data)
            return []
        return list(islice(self._matches(data), MOST_MATCHES))

    def _next(self, descriptor: int) -> bytes | None:
        """The next lines, from the offset on; empty if there is a hole or only states that were replaced. None at the
        end."""
        end = os.fstat(descriptor).st_size
        if self._offset >= end:
            return None
        begin = holes.data_from(descriptor, self._offset, size=end)
        if begin > self._offset:
            self._offset, self._line = begin, None
            return b""
        stop = holes.data_until(descriptor, begin, size=end)
        data = os.pread(descriptor, min(PIECE_BYTES, stop - begin), begin)
        if begin + len(data) >= stop:
            return data
        if whole := data.rfind(b"\n") + 1:
            return data[:whole]
        if replaced := last_state(data):
            self._offset += replaced
            return b""
        return data

    def _matches(self, data: bytes) -> Iterator[LogMatch]:
        for line in _lines(data):
            start = last_state(line.rstrip(b"\n"))
            text = line[start:].rstrip(b"\r\n")
            where, number = self._offset + start, self._line
            self._pass_over(line)
            if where > self._after and (match := self._pattern.search(text)) is not None:
                yield LogMatch(offset=where, line=number, text=_around(text, match.start()))

    def _pass_over(self, data: bytes) -> None:
        self._offset += len(data)
        if self._line is not None:
            self._line += data.count(b"\n")


def _pattern(text: str, *, regex: bool) -> Any:
    if not text or len(text) > LONGEST_PATTERN:
        raise InvalidSetting(f"The text to search for must have 1 to {LONGEST_PATTERN} characters.", setting="text")
    options = re2.Options()
    options.log_errors = False
    options.literal = not regex
    options.case_sensitive = regex
    try:
        return re2.compile(text.encode(), options)
    except re2.error as error:
        said = error.args[0]
        why = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise InvalidSetting(f"{short(text)} is not a valid RE2 regular expression: {why}.", setting="text") from None


def _lines(data: bytes) -> Iterator[bytes]:
    r"""The lines with their line ends. bytes.splitlines would also split at a `\r`."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _around(text: bytes, place: int) -> str:
    """The text, or the part of it around a position."""
    begin = max(0, place - LONGEST_TEXT // 2) if len(text) > LONGEST_TEXT else 0
    return text[begin : begin + 4 * LONGEST_TEXT].decode(errors="replace")[:LONGEST_TEXT]
