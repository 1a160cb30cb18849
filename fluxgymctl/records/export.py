# SPDX-License-Identifier: Apache-2.0
"""`export`: writes a job as a folder for another program."""

from pathlib import Path

import click

from fluxgym.protocol.methods import EXPORT, ExportParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write, write_json
from fluxgymctl.session import Session, common_options
from fluxgymctl.settings.fields import absolute

FORMATS = ("sd-scripts",)


@click.command("export", epilog=epilog("export my-cat cat-for-kohya", "export my-cat /tmp/cat --as sd-scripts"))
@click.argument("name")
@click.argument("folder")
@click.option("--as", "form", type=click.Choice(FORMATS), default="sd-scripts", help="The program it is for.")
@common_options
@click.pass_obj
def command(session: Session, name: str, folder: str, form: str) -> None:
    """Writes a training as a folder that runs with kohya-ss/sd-scripts, and prints the path of its script.

    The folder must be empty or not exist. It contains train.sh with all flags, dataset.toml, the sample prompts, and
    the pictures and captions that were copied for the job. All its paths but those of the models are relative, so
    you can move it. Flags that only FluxGym's own trainer has are left out and reported.
    """
    try:
        target = absolute(folder, Path())
    except ValueError:
        raise click.UsageError("FOLDER is empty; give the path of a folder.") from None
    reply = session.call(EXPORT, ExportParameters(name=name, folder=target, format=form))
    for sentence in reply.notes:
        note(sentence)
    if session.json:
        write_json(reply)
    else:
        write(f"{target}/train.sh")
