# SPDX-License-Identifier: Apache-2.0
"""`submit`: queues a job from flags, a spec file, presets or another job. Flags override the file, and both override
presets and the other job.

Only the job's name goes to stdout, so that a script can use it.
"""

import os
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from fluxgym.errors import AnswerMissing, InvalidSetting, NoSuchDataset
from fluxgym.names import propose
from fluxgym.protocol.messages import Context, Kind, ResumeFrom
from fluxgym.protocol.methods import (
    COMPOSE,
    CONVERT,
    PLAN,
    SUBMIT,
    ComposeParameters,
    ConvertParameters,
    SubmitParameters,
)
from fluxgymctl import outcome
from fluxgymctl.manual import epilog
from fluxgymctl.output import is_terminal, note, terminal_width, write, write_json
from fluxgymctl.session import Session, common_options
from fluxgymctl.settings import spec
from fluxgymctl.settings.fields import PROGRAM
from fluxgymctl.settings.flags import JobCommand, job_options, sources, values


@click.command(
    "submit",
    cls=JobCommand,
    epilog=epilog(
        "submit my-cat --dataset cats --trigger-word c4t --follow",
        "submit my-cat --dataset ./pictures --plan",
        "submit my-cat --part cats,repeats=10 --part ./other-cats,repeats=1,regularisation --trigger-word c4t",
        "submit my-cat --file cat.toml --epochs 24 -o optimizer_type=adamw",
        "submit my-face --dataset ./pictures --preset person --preset 12G",
        "submit my-cat-2 --like my-cat --learning-rate 2e-4",
        "submit my-cat-20 --resume-from my-cat --more-epochs 4",
        "submit my-cat-3 --from cat.toml --dataset ./pictures",
        "submit tidy --after my-cat -- sh -c 'echo done'",
        ends=f"0 queued; with --plan 0 if it would be queued, 2 if not; with --follow {outcome.HELP}",
    ),
)
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Then show the progress, as `watch` does.")
@click.option("--plan", is_flag=True, help="Only show what would happen: steps, pictures, memory, disk and time.")
@click.option("--from", "source", metavar="FILE", help="Another program's settings; see below.")
@click.option(
    "--more-epochs",
    type=int,
    metavar="N",
    help="Instead of --epochs: N epochs after the checkpoint of --resume-from, or after the newest one of --like.",
)
@sources
@job_options
@common_options
@click.pass_obj
def command(
    session: Session,
    /,
    name: str | None,
    *,
    file: Path | None,
    follow: bool,
    plan: bool,
    source: str | None,
    more_epochs: int | None,
    presets: tuple[str, ...],
    like: str | None,
    **given: Any,
) -> int:
    """Queues a job and prints its name. With --plan, nothing is queued.

    The job is a training or, with `-- PROGRAM ARGUMENT...`, a program that runs on the CPU. The program is looked up
    as in a shell.

    --dataset is one folder or dataset with all pictures. --part, which may be repeated, gives one part of them: WHAT
    is what --dataset takes, and the rest applies only to this part. In the spec file, each part is a table [[parts]].

    Each flag is also a key of the spec file, named as in the interface: --epochs is epochs, --gpu is gpus (a list),
    --gpus is gpu_count, --hold is held. --transformer and the other files of the base model are keys of the table
    [model]; the trainer's own flags go in [trainer_options], and the watchdog's limits in [watchdog_limits]. Paths in
    the spec file are relative to the file.

    --like gives the settings of another job, and --preset those of a preset; of several presets, the later one
    overrides. What the spec file and the flags give overrides both. With --like the pictures come from the folder or
    dataset that the other job was submitted with or, if that is gone, from the copy that was made for that job.

    --resume-from starts from a copy of another job's checkpoint: more epochs for a finished job, or a branch from an
    older checkpoint. The settings and the pictures are those of that job, unless you give others. --epochs counts
    from the very beginning; --more-epochs counts from the checkpoint.

    --from reads another program's settings: a kohya_ss GUI's JSON, sd-scripts' dataset.toml or --config_file, or an
    ai-toolkit YAML. A remark names each setting that does not carry over. Presets and your own flags override them.
    """
    if plan and follow:
        raise click.UsageError("--plan queues nothing, so there is nothing to --follow.")
    from_file, from_flags = spec.read(file) if file else {}, values(given)
    if PROGRAM in from_file or PROGRAM in from_flags:
        from_file = {"kind": Kind.PROGRAM, **from_file}
    base = None
    if source is not None:
        if like is not None:
            raise click.UsageError("--from and --like cannot both be given.")
        base = _converted(session, Path(source))
        name = name or from_file.get("name") or base.name
    job = spec.context(name=name, file=from_file, flags=from_flags)
    if more_epochs is not None:
        job = _continued(job, like)
    if presets or like is not None or base is not None or job.resume_from is not None:
        asked = ComposeParameters(job=job, presets=list(presets), like=like, base=base, more_epochs=more_epochs)
        made = session.call(COMPOSE, asked)
        job = made.job
        for remark in made.notes:
            note(remark)
    if plan:
        return _plan(session, job)
    try:
        reply = session.call(SUBMIT, SubmitParameters(job=job))
    except NoSuchDataset as error:
        raise NoSuchDataset(f"{error}{_folder_instead(error.fields.get('name'), file)}", **error.fields) from None
    except AnswerMissing as error:
        raise AnswerMissing(
            f"{error} {job.name} may or may not have been queued; once fluxgymd answers again, check with "
            f"`fluxgymctl status {job.name}`."
        ) from None
    for warning in reply.warnings:
        note(warning)
    if session.json:
        write_json(reply.job)
    else:
        write(reply.job.context.name)
    if not follow:
        return 0
    from fluxgymctl.verbs.watch import watch

    return watch(session, reply.job.context.name)


def _continued(job: Context, like: str | None) -> Context:
    """The job, starting from a checkpoint: with --like, that job's newest one unless another is given."""
    if job.epochs is not None:
        raise click.UsageError("--more-epochs and --epochs cannot both be given.")
    if job.resume_from is None and like is None:
        raise click.UsageError("--more-epochs needs --resume-from or --like.")
    return job if job.resume_from is not None else structs.replace(job, resume_from=ResumeFrom(job=str(like)))


def _plan(session: Session, job: Context) -> int:
    """Prints the plan, and returns the exit status."""
    from fluxgymctl.prose import plan_page

    with session.connect() as connection:
        told = plan_page.gathered(connection.stream(PLAN, SubmitParameters(job=job)))
    if session.json:
        write_json(told)
    else:
        for line in plan_page.lines(job.name, told, width=terminal_width() if is_terminal() else None):
            write(line)
    return InvalidSetting.exit_status if told.plan.problems else 0


def _converted(session: Session, file: Path) -> Context:
    """Another program's settings as those of a job, after a remark for each that does not carry over. If they have no
    name, the job has that of the file."""
    reply = session.call(CONVERT, ConvertParameters(text=spec.read_text(file), folder=os.path.abspath(file.parent)))
    note(f"{file} has settings of {reply.program}.")
    for remark in reply.notes:
        note(remark)
    return structs.replace(reply.job, name=reply.job.name or propose(file.stem))


def _folder_instead(dataset: object, file: Path | None) -> str:
    """What to write for a folder of this name, if there is one: beside the spec file, or in the current folder."""
    if isinstance(dataset, str) and any(
        (base / dataset).is_dir() for base in (Path(), *([file.parent] if file else []))
    ):
        return f" To train on the folder {dataset}, write ./{dataset}."
    return ""
