# SPDX-License-Identifier: Apache-2.0
"""`daemon`: what the daemon says about itself, and its start and stop by the user's systemd.

The socket and the service are stopped together: if only the service were stopped, the socket would start it again for
the next client. None of this affects a job (promise 1).
"""

import os
import time

import click

from fluxgym import paths
from fluxgym.errors import FluxgymError
from fluxgym.protocol.machine_messages import Linger, SleepInhibitor
from fluxgym.protocol.machine_methods import INFO, InfoReply
from fluxgym.protocol.methods import Nothing
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_facts, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options
from fluxgymctl.systemctl import systemctl

SERVICE = "fluxgymd.service"
SOCKET = "fluxgymd.socket"

_LINGER = {
    Linger.ENABLED: "on: jobs continue after the last logout",
    Linger.DISABLED: "off: jobs end at the last logout; turn it on with `loginctl enable-linger`",
    Linger.UNKNOWN: "unknown",
}
_LINGER_OF_PROCESSES = {
    **_LINGER,
    # They are not the user manager's children: logind ends them only if its KillUserProcesses= is on.
    Linger.DISABLED: "off, which does not affect jobs that are plain processes",
}
_SLEEP = {
    SleepInhibitor.HELD: "held: the machine stays awake",
    SleepInhibitor.NOT_NEEDED: "not needed: no job holds a GPU",
    SleepInhibitor.REFUSED: "refused: the machine may go to sleep while a job runs",
    SleepInhibitor.UNAVAILABLE: "not available",
    SleepInhibitor.UNKNOWN: "unknown",
}
_QUEUE = {True: "paused until `fluxgymctl continue`", False: "open", None: "unknown"}


@click.group("daemon", invoke_without_command=True, epilog=epilog("daemon", "daemon restart"))
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """Shows the running daemon; its subcommands start and stop it.

    Shows its version, what runs the jobs and why, and what does not work.
    """
    if context.invoked_subcommand is not None:
        return
    session = context.ensure_object(Session)
    info = session.call(INFO, Nothing())
    if session.json:
        write_json(info)
    else:
        write_facts(facts(info, now=time.time()))


@command.command("start", epilog=epilog("daemon start"))
@common_options
@click.pass_obj
def start(session: Session) -> None:
    """Starts the installed daemon."""
    _systemctl(session, "start", SOCKET, SERVICE)
    note("The daemon is running.")


@command.command("stop", epilog=epilog("daemon stop"))
@common_options
@click.pass_obj
def stop(session: Session) -> None:
    """Stops the installed daemon and its socket. Running jobs continue."""
    _systemctl(session, "stop", SOCKET, SERVICE)
    note("The daemon and its socket are stopped; running jobs continue, and queued jobs wait for the daemon.")


@command.command("restart", epilog=epilog("daemon restart"))
@common_options
@click.pass_obj
def restart(session: Session) -> None:
    """Restarts the installed daemon. Running jobs continue."""
    _systemctl(session, "restart", SERVICE)
    note("The daemon was restarted; running jobs were not affected.")


def facts(info: InfoReply, *, now: float) -> list[tuple[str, str]]:
    sleep = _SLEEP[info.sleep_inhibitor]
    if info.sleep_inhibitor_reason:
        sleep += f" ({info.sleep_inhibitor_reason})"
    return [
        ("Version", info.version),
        ("Process", str(info.pid)),
        ("Started", f"{words.moment(info.started_at, now=now)} ({words.age(info.started_at, now=now)} ago)"),
        ("Home", info.home),
        ("Socket", info.socket),
        ("Supervisor", f"{info.supervisor} ({info.supervisor_reason})"),
        ("Linger", (_LINGER_OF_PROCESSES if info.supervisor == "process" else _LINGER)[info.linger]),
        ("Sleep lock", sleep),
        ("Queue", _QUEUE[info.queue_paused]),
        ("Jobs", ", ".join(f"{count} {state}" for state, count in info.jobs.items() if count) or "none"),
        *([] if info.loop_late is None else [("Lateness", f"up to {_milliseconds(info.loop_late)} recently")]),
        ("Health", "good" if not info.degraded else "; ".join(info.degraded)),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{round(1000 * seconds)} ms"


def _systemctl(session: Session, verb: str, *units: str) -> None:
    """Runs systemctl on the installed units. If it fails, FluxgymError has its message."""
    wanted, installed = session.configuration().socket, paths.default_socket(os.environ)
    if wanted != installed:
        raise FluxgymError(
            f"`daemon {verb}` acts on the installed daemon, whose socket is {installed}, not on the one at {wanted}."
        )
    systemctl(verb, *units, called=f"daemon {verb}", program="fluxgymd")
