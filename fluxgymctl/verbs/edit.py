# SPDX-License-Identifier: Apache-2.0
"""`edit`: changes the settings of a job that does not run, with the flags and the spec file of `submit`."""

from pathlib import Path
from typing import Any

import click

from fluxgym.protocol.methods import EDIT, SubmitParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session, common_options
from fluxgymctl.settings import spec
from fluxgymctl.settings.flags import JobCommand, job_options, values


@click.command(
    "edit",
    cls=JobCommand,
    epilog=epilog("edit my-lora --epochs 24 -o ema_decay=false", "edit my-lora --priority 5 --after ''"),
)
@click.argument("name")
@job_options
@common_options
@click.pass_obj
def command(session: Session, /, name: str, *, file: Path | None, **given: Any) -> None:
    """Changes the settings of a job that is not running.

    They take effect at its next start. Settings that are not given stay as they were; --after '' and the like empty
    a list, and -o KEY=false removes a flag of the trainer. The name, the kind and the pictures of a job cannot
    be changed.
    """
    from_file, from_flags = spec.read(file) if file else {}, values(given)
    if not from_file and not from_flags:
        raise click.UsageError("There is nothing to change; give flags or a spec file as for `fluxgymctl submit`.")
    reply = session.call(EDIT, SubmitParameters(job=spec.context(name=name, file=from_file, flags=from_flags)))
    for warning in reply.warnings or ():
        note(warning)
    if session.json:
        write_json(reply.job)
    else:
        note(f"The new settings of {name} are saved; it is {reply.job.runtime.state}.")
