# SPDX-License-Identifier: Apache-2.0
"""`annotate`: sets a job's group, tags, note and best LoRA."""

import click

from fluxgym.protocol.methods import ANNOTATE, DESCRIBE, AnnotateParameters, JobName
from fluxgymctl.manual import epilog
from fluxgymctl.output import note as tell
from fluxgymctl.output import write_json
from fluxgymctl.session import Session, common_options


@click.command(
    "annotate",
    epilog=epilog(
        "annotate my-lora --group cats --tag good --tag portrait",
        "annotate my-lora --best my-lora-000008.safetensors --note 'The eyes are right.'",
        "annotate my-lora --untag good --note ''",
    ),
)
@click.argument("name")
@click.option("--group", metavar="NAME", help="The group that the job belongs to.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Add a tag; may be repeated.")
@click.option("--untag", "untags", metavar="TAG", multiple=True, help="Remove a tag; may be repeated.")
@click.option("--note", metavar="TEXT", help="A note about the job.")
@click.option("--best", metavar="FILE", help="The best LoRA: the name of a file in the job's folder.")
@common_options
@click.pass_obj
def command(
    session: Session,
    name: str,
    *,
    group: str | None,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    note: str | None,
    best: str | None,
) -> None:
    """Sets notes about a job, whatever its state.

    Notes have no effect on the job. `list --group` and `list --tag` find jobs by them, and `status` shows them. An
    empty value, such as --note '', clears one.
    """
    if group is None and note is None and best is None and not tags and not untags:
        raise click.UsageError("There is nothing to change; give --group, --tag, --untag, --note or --best.")
    wanted = None
    if tags or untags:
        now = session.call(DESCRIBE, JobName(name=name)).job.annotation
        wanted = [tag for tag in (*(now.tags if now is not None else ()), *tags) if tag not in untags]
    job = session.call(ANNOTATE, AnnotateParameters(name=name, group=group, tags=wanted, note=note, best=best)).job
    if session.json:
        write_json(job)
    else:
        tell(f"Saved the notes about {name}.")
