# SPDX-License-Identifier: Apache-2.0
"""monitor.log and monitor.pid, which are for people and older tools; FluxGym itself never reads them."""

import logging
import os
import time
from pathlib import Path

from fluxgym.files import open_file
from fluxgymd.background import lanes
from fluxgymd.store.atomic import write_all
from fluxgymd.store.home import JobFolder

log = logging.getLogger(__name__)


async def note(folder: JobFolder, text: str) -> None:
    """Logs a clause, and adds it to monitor.log as a sentence. If that fails, only the line is lost."""
    log.info("%s: %s", folder.name, text)
    await lanes.run(folder.name, _append, folder, text)


def _append(folder: JobFolder, text: str) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S%z")
    try:
        _write(folder.monitor_log, f"{stamp}  {sentence(text)}\n", os.O_APPEND)
    except OSError as error:
        log.warning("%s: monitor.log could not be written: %s", folder.name, error.strerror or error)


def _write(path: Path, text: str, how: int) -> None:
    descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | how)
    try:
        write_all(descriptor, text.encode(errors="replace"))
    finally:
        os.close(descriptor)


def sentence(clause: str) -> str:
    """The clause with a capital letter, and with a full stop unless it ends in punctuation."""
    return clause[:1].upper() + clause[1:] + ("" if clause.endswith((".", "!", "?", ":")) else ".")


def write_pid(folder: JobFolder) -> None:
    """Records this daemon as the one that watches the job."""
    try:
        _write(folder.monitor_pid, f"{os.getpid()}\n", os.O_TRUNC)
    except OSError as error:
        log.warning("%s: monitor.pid could not be written: %s", folder.name, error.strerror or error)


def remove_pid(folder: JobFolder) -> None:
    try:
        folder.monitor_pid.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: monitor.pid could not be removed: %s", folder.name, error)
