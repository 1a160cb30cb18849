# SPDX-License-Identifier: Apache-2.0
"""`gpus`: the GPUs of this machine and the jobs that hold them."""

import click

from fluxgym.machine_messages import Gpu
from fluxgym.machine_methods import CLEAR_QUARANTINE, GPUS, GpuName
from fluxgym.methods import Nothing
from fluxgymctl import words
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, write_json, write_table
from fluxgymctl.session import Session, common_options

HEADER = ("GPU", "NAME", "MEMORY", "LOAD", "TEMPERATURE", "POWER", "JOB")


@click.command("gpus", epilog=epilog("gpus"))
@click.option("--clear", metavar="GPU", help="End the quarantine of this GPU, given by index or UUID.")
@common_options
@click.pass_obj
def command(session: Session, clear: str | None) -> None:
    """Shows the GPUs and the jobs that hold them.

    A GPU is quarantined, so that no job gets it, when it fell off the bus, when its driver reported an error that
    requires a reset, or when a process on it cannot be killed. A reboot ends the quarantine, and so does --clear; use
    that only if you know that the GPU works again.
    """
    if clear is not None:
        session.call(CLEAR_QUARANTINE, GpuName(gpu=clear))
        return
    reply = session.call(GPUS, Nothing())
    if reply.problem is not None:
        note(reply.problem)
    elif not reply.gpus:
        note("There is no GPU; trainings run on the CPU, one at a time.")
    if session.json:
        for gpu in reply.gpus:
            write_json(gpu)
    elif reply.gpus:
        write_table(HEADER, rows(reply.gpus))
        for gpu in reply.gpus:
            if gpu.put_aside is not None:
                note(
                    f"GPU {gpu.index} is quarantined, so no job gets it: {gpu.put_aside} A reboot ends it; "
                    f"so does `fluxgymctl gpus --clear {gpu.index}`."
                )


def rows(gpus: list[Gpu]) -> list[tuple[str, ...]]:
    return [
        (
            str(gpu.index),
            gpu.name,
            f"{words.size(gpu.memory_used)} of {words.size(gpu.memory_total)}",
            _unit(gpu.utilization, "%"),
            _unit(gpu.temperature, " C"),
            _unit(None if gpu.power_draw is None else round(gpu.power_draw), " W"),
            words.text(gpu.job),
        )
        for gpu in gpus
    ]


def _unit(value: int | None, unit: str) -> str:
    return words.ABSENT if value is None else f"{value}{unit}"
