# SPDX-License-Identifier: Apache-2.0
"""Trains the settings of a draw twice with a real daemon, once undisturbed and once interrupted. Both runs must have
the same steps and the same bits, and no step may be repeated that a checkpoint has."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fluxgym.errors import FluxgymError, InvalidSetting, WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Job, State
from tests.daemon.running import TRAINING_SECONDS, RunningDaemon, tensors, tiny_model
from tests.harness.waiting import until
from tests.settings.draw import Draw
from tests.settings.interruptions import SURVIVED, WAYS

OPTION = "trainer_options."
WHOLE, CUT = "undisturbed", "interrupted"


class TooLate(Exception):
    """The training ended before it could be interrupted."""


def play(daemon: RunningDaemon, model: Path, draw: Draw) -> list[str]:
    """Plays a draw. A flag that contradicts another is refused and left out; returns the sentences that refused them.
    Raises AssertionError if the interrupted training does not end like the undisturbed one."""
    left_out: list[str] = []
    options = dict(draw.options)
    while True:
        try:
            daemon.submit(_context(WHOLE, model, draw, options))
            break
        except InvalidSetting as error:
            name = str(error.fields.get("setting")).removeprefix(OPTION)
            if name not in options:
                raise AssertionError(f"{draw} is refused: {error}") from error
            del options[name]
            left_out.append(f"without {name}: {error}")
    daemon.wait(WHOLE, State.COMPLETED)
    steps = int(daemon.events(WHOLE)[-1]["step"])
    step = int(draw.moment * steps)
    while True:
        daemon.submit(_context(CUT, model, draw, options))
        try:
            _interrupt(daemon, draw.way, step)
            break
        except TooLate:
            assert step > 0, "it was over as soon as it had started"
            step //= 2
            daemon.remove(CUT)
    _bring_to_its_end(daemon)
    _compare(daemon, steps)
    for name in (WHOLE, CUT):
        daemon.remove(name)
    return left_out


def _context(name: str, model: Path, draw: Draw, options: dict[str, list[str]]) -> Context:
    fields: dict[str, Any] = {"dataset": str(model / "pictures"), "model": tiny_model(model), "resolution": 64}
    return Context(name=name, **(fields | draw.fields), trainer_options=options)


def _interrupt(daemon: RunningDaemon, way: str, step: int) -> None:
    """Waits for the step and interrupts the training. Raises TooLate if the training has already completed."""
    try:
        daemon.reach(CUT, step) if step else until(lambda: _has_started(daemon), what="the trainer to start")
    except AssertionError:
        if daemon.job(CUT).runtime.state is State.COMPLETED:
            raise TooLate from None
        raise
    WAYS[way](daemon, CUT)
    until(lambda: _has_ended(daemon) or way in SURVIVED, what="the attempt to end")
    if way not in SURVIVED and daemon.job(CUT).runtime.state is State.COMPLETED and len(_attempts(daemon)) == 1:
        raise TooLate


def _has_started(daemon: RunningDaemon) -> bool:
    return any(event["event"] == "started" for event in daemon.events(CUT))


def _has_ended(daemon: RunningDaemon) -> bool:
    return any(event["event"] == "ended" for event in daemon.events(CUT))


def _attempts(daemon: RunningDaemon) -> list[dict[str, Any]]:
    return [event for event in daemon.events(CUT) if event["event"] == "reserved"]


def _bring_to_its_end(daemon: RunningDaemon) -> None:
    """Resumes the job as a user would, until it is completed. The job must not fail once it has been resumed. If it
    waits before its next attempt, it is stopped and resumed, to save time."""
    resumed = False

    def look() -> bool:
        nonlocal resumed
        job = daemon.job(CUT)
        state = job.runtime.state
        if state is State.INTERRUPTED and (job.runtime.not_before or 0.0) > time.time() + 2:
            _ask(daemon, m.STOP)
        elif state in (State.STOPPED, State.FAILED) or _stays_interrupted(job):
            said = f"{state}: {job.runtime.reason}\n{daemon.training_log(CUT)[-4000:]}"
            assert not (resumed and state is State.FAILED), f"it failed after it was resumed: {said}"
            resumed = True
            _ask(daemon, m.RESUME)
        return state is State.COMPLETED

    until(look, what=f"{CUT} to be completed", deadline_seconds=TRAINING_SECONDS)


def _stays_interrupted(job: Job) -> bool:
    return job.runtime.state is State.INTERRUPTED and job.context.restart == "never"


def _ask(daemon: RunningDaemon, method: m.Method[Any, Any]) -> None:
    """Calls the method for the interrupted job. Its state may have changed in the meantime."""
    try:
        daemon.call(method, method.parameters(name=CUT))
    except WrongState:
        return
    except FluxgymError as error:
        raise AssertionError(f"it cannot be resumed: {error}") from error


def _compare(daemon: RunningDaemon, steps: int) -> None:
    events = daemon.events(CUT)
    assert events[-1]["step"] == steps, f"it ended at step {events[-1]['step']} of {steps}"
    for before, event in zip(_ended(events), _attempts(daemon)[1:], strict=False):
        saved, begun = before.get("checkpointStep", 0), event.get("step", 0)
        assert begun == saved, f"it went on at step {begun}, though a checkpoint had step {saved}"
        assert not event.get("setAside"), f"whole checkpoints were set aside: {event['setAside']}"
    whole, cut = (_results(daemon.folder(name), name) for name in (WHOLE, CUT))
    assert "" in whole, f"the undisturbed run left no LoRA, only {sorted(whole)}"
    missing = {name for name in ("", "-ema") if name in whole} - cut.keys()
    assert not missing, f"the interrupted run has no file {missing}"
    different = [name for name in whole.keys() & cut.keys() if tensors(whole[name]) != tensors(cut[name])]
    assert not different, f"not the same bits: {different}"
    planned = [json.loads(_metadata(files[""]))["ss_steps"] for files in (whole, cut)]
    assert planned == [str(steps)] * 2


def _ended(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == "ended"]


def _results(folder: Path, name: str) -> dict[str, Path]:
    """Returns every LoRA of a job by the part of its name after the job's, including those of its epochs."""
    return {path.stem.removeprefix(name): path for path in folder.glob(f"{name}*.safetensors")}


def _metadata(path: Path) -> str:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return json.dumps(header["__metadata__"])
