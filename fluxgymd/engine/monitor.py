# SPDX-License-Identifier: Apache-2.0
"""monitor.log and monitor.pid: for people and older tools, never read by us (DESIGN: A job and its home)."""

import logging
import os
import time

from fluxgymd import lanes
from fluxgymd.store.home import JobFolder

log = logging.getLogger(__name__)


async def note(folder: JobFolder, text: str) -> None:
    """Adds what happened, given as a clause; it is written as a sentence. A full disk loses the line, not the job."""
    log.info("%s: %s", folder.name, text)
    await lanes.run(folder.name, _append, folder, text)


def _append(folder: JobFolder, text: str) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S%z")
    try:
        with folder.monitor_log.open("a", encoding="utf-8") as file:
            file.write(f"{stamp}  {sentence(text)}\n")
    except OSError as error:
        log.warning("%s: monitor.log could not be written: %s", folder.name, error)


def sentence(clause: str) -> str:
    """With a capital letter, and with a full stop unless it ends in one."""
    return clause[:1].upper() + clause[1:] + ("" if clause.endswith((".", "!", "?", ":")) else ".")


def write_pid(folder: JobFolder) -> None:
    """Names this daemon as the one that watches the job."""
    try:
        folder.monitor_pid.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        log.warning("%s: monitor.pid could not be written: %s", folder.name, error)


def remove_pid(folder: JobFolder) -> None:
    try:
        folder.monitor_pid.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: monitor.pid could not be removed: %s", folder.name, error)
