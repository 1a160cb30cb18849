# SPDX-License-Identifier: Apache-2.0
"""`metrics`: what a training has measured: losses, learning rate, speed, memory."""

from collections.abc import Iterator

import click

from fluxgym.protocol.output_messages import Measurements
from fluxgym.protocol.output_methods import METRICS, MetricsParameters, MetricsReply
from fluxgymctl import follow as streams
from fluxgymctl import outcome
from fluxgymctl.count import read_count
from fluxgymctl.manual import epilog
from fluxgymctl.output import GAP, note, write, write_json
from fluxgymctl.prose import words
from fluxgymctl.session import Session, common_options

HEADER = ("ATTEMPT", "STEP", "EPOCH", "LOSS", "MEAN", "VALIDATION", "RATE", "SPEED", "MEMORY")
WIDTHS = (7, 8, 5, 10, 10, 10, 9, 14, 10)
POINTS = 40
FEWEST, MOST = 10, 10_000
"""The daemon's limits on the number of points."""


@click.command("metrics", epilog=epilog("metrics my-lora", "metrics my-lora --all --json", "metrics -f my-lora"))
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new measurements until the job has ended.")
@click.option("--points", callback=read_count, metavar="N", help=f"Approximate number of lines; default {POINTS}.")
@click.option("--all", "everything", is_flag=True, help="All measurements.")
@common_options
@click.pass_obj
def command(session: Session, name: str, *, follow: bool, points: int | None, everything: bool) -> int:
    """Shows what a training has measured: a line for each measurement, thinned to about --points lines.

    The lowest and the highest values are kept, and so are the last lines. A loss that was not finite is shown as nan.
    sd-scripts reports no measurements.
    """
    wanted = None if everything else min(max(POINTS if points is None else points, FEWEST), MOST)
    seen = False
    try:
        for reply in _replies(session, name, points=wanted, follow=follow):
            if session.json:
                write_json(reply)
                seen = True
                continue
            for row in rows(reply.metrics):
                if not seen:
                    write(line(HEADER))
                seen = True
                write(line(row))
    except KeyboardInterrupt:
        return outcome.interrupted(name)
    if not seen:
        note(f"{name} has reported no measurements yet.")
    return 0


def _replies(session: Session, name: str, *, points: int | None, follow: bool) -> Iterator[MetricsReply]:
    if follow:
        yield from streams.metrics(session, name, points=points, note=note)
        return
    with session.connect() as connection:
        yield from connection.stream(METRICS, MetricsParameters(name=name, points=points))


def rows(found: Measurements) -> Iterator[tuple[str, ...]]:
    lost = set(found.not_finite)
    for index, step in enumerate(found.step):
        loss = "nan" if index in lost else _number(found.loss[index], ".4f")
        yield (
            str(found.attempt[index]),
            str(step),
            words.text(found.epoch[index]),
            loss,
            _number(found.mean[index], ".4f"),
            _number(found.validation[index], ".4f"),
            _number(found.rate[index], ".3g"),
            words.speed(found.seconds_per_step[index]),
            words.size(found.memory[index]),
        )


def line(cells: tuple[str, ...]) -> str:
    """A line with columns of fixed width, since it is printed before the next ones are known."""
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _number(value: float | None, form: str) -> str:
    return words.ABSENT if value is None else format(value, form)
