# SPDX-License-Identifier: Apache-2.0
"""fluxgymd: the command line, and the life of the process around the daemon."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys

import click

from fluxgym import __version__, config, startup
from fluxgym.errors import FluxgymError
from fluxgymd.background import lanes
from fluxgymd.daemon import Daemon
from fluxgymd.host import dispositions
from fluxgymd.host.lateness import WatchedSelector


@click.command()
@click.version_option(__version__, message="%(version)s")
@click.option("--home", metavar="DIR", help="The folder that holds outputs/ (FLUXGYM_HOME).")
@click.option("--socket", metavar="PATH", help="The socket to listen on (FLUXGYM_SOCKET).")
@click.option("--supervisor", metavar="KIND", help="What runs the attempts: auto, scope or process.")
def main(home: str | None, socket: str | None, supervisor: str | None) -> None:
    """The daemon that owns the training jobs: starts them, watches them, and never loses one.

    It runs in the foreground; systemd starts it as the user service fluxgymd.
    """
    startup.settle()
    dispositions.reset()
    os.umask(0o077)  # only the user may read what the daemon writes, as with the unit's UMask=
    faulthandler.enable()  # a watchdog's SIGABRT then leaves every stack in the journal
    _log_to_stderr()
    try:
        settings = config.load(os.environ, {"home": home, "socket": socket, "supervisor": supervisor})
        selector = WatchedSelector()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            runner.run(_serve(Daemon(settings, selector)))
            lanes.THREADS.leave()
    except FluxgymError as error:
        click.echo(f"fluxgymd: {error}", err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        click.echo(f"fluxgymd: {error.filename or 'the home'} cannot be used: {error.strerror}.", err=True)
        sys.exit(5)


async def _serve(daemon: Daemon) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # a closed terminal must not end the daemon
    async with daemon:
        await leave.wait()


class _Priorities(logging.Formatter):
    """Adds prefixes that the journal reads as priorities (sd-daemon(3))."""

    LEVELS = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"), (0, "<7>"))

    def format(self, record: logging.LogRecord) -> str:
        prefix = next(text for level, text in self.LEVELS if record.levelno >= level)
        return prefix + super().format(record).replace("\n", f"\n{prefix}")


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Priorities("%(message)s") if "JOURNAL_STREAM" in os.environ else logging.Formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
