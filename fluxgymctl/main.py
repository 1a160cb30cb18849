# SPDX-License-Identifier: Apache-2.0
"""The program: it finds the verb, and turns every error into a sentence on stderr and an exit status.

A verb's module is imported only when the verb is called, so that `fluxgymctl list` does not load the other verbs.
"""

import io
import sys
from collections.abc import Sequence

import click

from fluxgym import __version__, startup
from fluxgym.errors import FluxgymError
from fluxgymctl.lazy import lazy_group
from fluxgymctl.manual import epilog
from fluxgymctl.outcome import INTERRUPTED
from fluxgymctl.output import drop, note, note_each
from fluxgymctl.session import common_options

VERBS = (
    "submit",
    "edit",
    "list",
    "status",
    "history",
    "events",
    "logs",
    "watch",
    "watchdog",
    "wait",
    "save",
    "sample",
    "stop",
    "resume",
    "hold",
    "release",
    "move",
    "pause",
    "continue",
    "annotate",
    "checkpoints",
    "files",
    "samples",
    "metrics",
    "search",
    "prune",
    "rm",
    "restore",
    "dataset",
    "options",
    "preset",
    "export",
    "gpus",
    "disks",
    "check",
    "hooks",
    "daemon",
    "web",
    "config",
)

OF_THE_MACHINE = frozenset({"pause", "continue", "gpus", "disks", "check", "hooks", "daemon", "web", "config"})
"""Verbs about this machine and its daemon."""
OF_RECORDS = frozenset(
    {"logs", "history", "events", "checkpoints", "files", "samples", "metrics", "search", "export"}
)
"""Verbs about what a job has written. All others concern jobs and what they train on."""


def room(verb: str) -> str:
    """The package that contains a verb."""
    if verb in OF_THE_MACHINE:
        return "fluxgymctl.machine"
    return "fluxgymctl.records" if verb in OF_RECORDS else "fluxgymctl.verbs"


BAD_INPUT = 2
OTHER_FAILURE = 1


@click.group(
    cls=lazy_group({verb: room(verb) for verb in VERBS}),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        "submit my-cat --dataset ./pictures --trigger-word c4t",
        "watch my-cat",
        "history my-cat",
        ends="0 success; `wait` and `watch` also report how the job ended",
    ),
)
@click.version_option(__version__, prog_name="fluxgymctl", message="%(prog)s %(version)s")
@common_options
def program() -> None:
    """Trains LoRAs for Flux models: submits jobs to fluxgymd, shows them and controls them.

    Submitted jobs continue when this program ends, the terminal closes or the daemon restarts.
    `fluxgymctl VERB --help` describes a verb.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one call and returns its exit status."""
    if arguments is None:
        startup.settle()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters outside the terminal's encoding are written as escapes, instead of ending the program.
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = program.main(args=words or ["--help"], prog_name="fluxgymctl", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.MissingParameter as error:
        usage = error.ctx.get_usage() if error.ctx is not None else ""
        note(f"{error.format_message()} {usage}".rstrip())
        return error.exit_code
    except click.ClickException as error:
        note(error.format_message())
        return error.exit_code
    except FluxgymError as error:
        note_each(error.message)
        return error.exit_status
    except UnicodeEncodeError as error:
        note(f"{_as_bytes(error.object)} is not UTF-8, and the daemon accepts only names and paths that are.")
        return BAD_INPUT
    except OSError as error:
        if error.filename is None:
            drop(sys.stdout)
        try:
            note(f"{error.filename or 'The output'}: {error.strerror or error}.")
        except OSError:
            drop(sys.stderr)
        return OTHER_FAILURE
    return status if isinstance(status, int) else 0


def _as_bytes(text: str) -> str:
    r"""The text, with a byte that is not UTF-8 as \xe9 instead of the surrogate that Python makes of it."""
    return "".join(f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter for letter in text)
