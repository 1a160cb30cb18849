# SPDX-License-Identifier: Apache-2.0
"""`gpus`: the GPUs of this machine and the jobs that hold them."""

from collections.abc import Generator

import click

from fluxgym.protocol.client import Connection
from fluxgym.protocol.machine_messages import Gpu, GpuSeries
from fluxgym.protocol.machine_methods import (
    CLEAR_QUARANTINE,
    GPU_HISTORY,
    GPUS,
    WATCH_MACHINE,
    GpuHistoryParameters,
    GpuName,
    WatchMachineParameters,
    WatchMachineReply,
)
from fluxgym.protocol.methods import Nothing
from fluxgymctl.follow import resilient
from fluxgymctl.manual import epilog
from fluxgymctl.outcome import INTERRUPTED
from fluxgymctl.output import note, write, write_json, write_table
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("GPU", "NAME", "MEMORY", "LOAD", "TEMPERATURE", "POWER", "JOB")
HISTORY_HEADER = ("TIME", "LOAD", "MEMORY", "TEMPERATURE", "POWER")


@click.command("gpus", epilog=epilog("gpus", "gpus --history", "gpus --follow"))
@click.option("--history", is_flag=True, help="Show the last hour of each GPU.")
@click.option("--follow", is_flag=True, help="Show the GPUs again whenever a value changes, until Ctrl-C.")
@click.option("--clear", metavar="GPU", help="End the quarantine of this GPU, given by index or UUID.")
@common_options
@click.pass_obj
def command(session: Session, clear: str | None, *, history: bool, follow: bool) -> int:
    """Shows the GPUs and the jobs that hold them.

    A GPU is quarantined, so that no job gets it, when it fell off the bus, when its driver reported an error that
    requires a reset, or when a process on it cannot be killed. A reboot ends the quarantine, and so does --clear; use
    that only if you know that the GPU works again.
    """
    if clear is not None:
        session.call(CLEAR_QUARANTINE, GpuName(gpu=clear))
    elif history:
        _show_history(session)
    elif follow:
        return _follow(session)
    else:
        reply = session.call(GPUS, Nothing())
        _show(session, reply.gpus, reply.problem)
    return 0


def _follow(session: Session) -> int:
    def source(connection: Connection) -> Generator[WatchMachineReply, None, bool]:
        yield from connection.stream(WATCH_MACHINE, WatchMachineParameters())
        return False

    shown: tuple[list[Gpu], str | None] | None = None
    try:
        for reply in resilient(session, source, note=note):
            now = (reply.state.gpus, reply.state.gpu_problem)
            if now != shown:
                shown = now
                _show(session, *now)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _show_history(session: Session) -> None:
    series = session.call(GPU_HISTORY, GpuHistoryParameters()).history
    if not any(one.time for one in series):
        note("There are no GPU readings from the last hour; GPUs are read only while jobs run or somebody watches.")
    for one in series:
        if session.json:
            write_json(one)
        elif one.time:
            write(one.uuid)
            write_table(HISTORY_HEADER, history_rows(one))


def history_rows(series: GpuSeries) -> list[tuple[str, ...]]:
    columns = (series.time, series.utilization, series.memory_used, series.temperature, series.power_draw)
    return [
        (words.clock(at), _unit(load, "%"), words.size(memory), _unit(heat, " C"), _unit(_whole(power), " W"))
        for at, load, memory, heat, power in zip(*columns, strict=True)
    ]


def _show(session: Session, gpus: list[Gpu], problem: str | None) -> None:
    if problem is not None:
        note(problem)
    elif not gpus:
        note("There is no GPU; trainings run on the CPU, one at a time.")
    if session.json:
        for gpu in gpus:
            write_json(gpu)
    elif gpus:
        write_table(HEADER, rows(gpus))
        for gpu in gpus:
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
            _power(gpu),
            words.text(gpu.job),
        )
        for gpu in gpus
    ]


def _power(gpu: Gpu) -> str:
    limit = "" if gpu.power_limit is None else f" of {gpu.power_limit:.0f}"
    return words.ABSENT if gpu.power_draw is None else f"{gpu.power_draw:.0f}{limit} W"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _unit(value: int | None, unit: str) -> str:
    return words.ABSENT if value is None else f"{value}{unit}"
