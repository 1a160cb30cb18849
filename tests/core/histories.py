# SPDX-License-Identifier: Apache-2.0
"""Job histories for tests: one event of each kind, and the shortest way into each state."""

import msgspec

from fluxgym.protocol.messages import Annotation, Context, Model, WatchdogMode
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.records import ExitRecord, Place, Placement, Process, Ticks

PLACE = Place(machine_id="m" * 32, boot_id="b" * 32, pid_namespace="pid:[4026531836]", init_start=Ticks(7))
MODEL = Model(
    transformer="/m/flux.sft", clip_l="/m/clip.safetensors", t5xxl="/m/t5.safetensors", autoencoder="/m/ae.sft"
)
CONTEXT = Context(
    name="my-lora",
    dataset="/pictures",
    model=MODEL,
    resolution=512,
    repeats=10,
    epochs=16,
    save_every_epochs=4,
    sample_prompts=[],
    seed=42,
    learning_rate=8e-4,
    network_dim=4,
    trainer_options={},
)
OUTCOMES = ("completed", "failed", "stopped", "interrupted", "never_started")


def submitted(
    *, name: str = "my-lora", job_id: str = "0" * 32, priority: int = 0, rank: float = 1.0, at: float = 1.0
) -> e.Submitted:
    context = Context(
        **{field: getattr(CONTEXT, field) for field in CONTEXT.__struct_fields__ if field != "name"}, name=name
    )
    return e.Submitted(at=at, id=job_id, context=context, priority=priority, rank=rank)


def reserved(attempt: int = 1, *, gpus: tuple[str, ...] = ("GPU-1",), step: int = 0) -> e.Reserved:
    return e.Reserved(
        at=2.0,
        attempt=attempt,
        adapter="scope",
        unit=f"fluxgym-my-lora-00000000.{attempt:03d}.scope",
        mark=f"{attempt:032x}",
        place=PLACE,
        gpus=list(gpus),
        log_offset=0,
        metrics_offset=0,
        step=step,
        final_before=e.FileStamp(inode=1, size=2, modified_ns=3),
    )


def spawned(attempt: int = 1) -> e.Spawned:
    return e.Spawned(at=3.0, attempt=attempt, shim=Process(pid=100, start=Ticks(1000)))


def placed(attempt: int = 1) -> e.Placed:
    placement = Placement(unit="fluxgym-my-lora-00000000.001.scope", invocation_id="i" * 32, cgroup="/a/b.scope")
    return e.Placed(at=4.0, attempt=attempt, placement=placement)


def started(attempt: int = 1) -> e.Started:
    return e.Started(at=5.0, attempt=attempt, trainer=Process(pid=101, start=Ticks(1001)))


def stop_asked(attempt: int = 1, *, after_checkpoint: bool = False) -> e.StopAsked:
    return e.StopAsked(at=6.0, attempt=attempt, after_checkpoint=after_checkpoint)


def unsupervised(attempt: int = 1) -> e.Unsupervised:
    return e.Unsupervised(at=6.5, attempt=attempt)


def sight_lost(attempt: int = 1) -> e.SightLost:
    return e.SightLost(at=7.0, attempt=attempt, why="its supervisor is gone")


def sight_regained(attempt: int = 1) -> e.SightRegained:
    return e.SightRegained(at=8.0, attempt=attempt)


def stuck(attempt: int = 1, *, acts: bool = True, step: int | None = 40) -> e.HangFound:
    return e.HangFound(
        at=8.5,
        attempt=attempt,
        rule="still",
        why="Nothing moved for 600 s.",
        since=3.0,
        evidence=("The last line of its log was written 610 s ago.",),
        phase="training",
        step=step,
        acts=acts,
    )


def ended(
    outcome: str,
    attempt: int = 1,
    *,
    checkpoint_step: int = 0,
    steps_lost: int = 0,
    failure: str | None = None,
    again: bool | None = None,
    not_before: float = 0.0,
) -> e.Ended:
    """The end of an attempt as the default policy records it: an interrupted job continues automatically, a failed
    one does not."""
    return e.Ended(
        at=9.0,
        attempt=attempt,
        outcome=outcome,
        failure=failure,
        again=outcome == "interrupted" if again is None else again,
        not_before=not_before,
        reason=f"It is {outcome}.",
        proof="none of its processes is left",
        exit=ExitRecord(kind="exited", code=0, user_seconds=0.25),
        checkpoint_step=checkpoint_step,
        steps_lost=steps_lost,
    )


CANCELLED = e.Cancelled(at=10.0)
RESUME_ASKED = e.ResumeAsked(at=11.0)
HELD = e.Held(at=12.0)
RELEASED = e.Released(at=13.0)
MOVED = e.Moved(at=14.0, priority=2, rank=0.5)
EDITED = e.Edited(at=15.0, context=msgspec.structs.replace(CONTEXT, epochs=32, priority=1))
WATCHDOG_OFF = e.WatchdogSet(at=15.5, mode=WatchdogMode.OFF, until=3615.5)
WATCHDOG_WARN = e.WatchdogSet(at=15.6, mode=WatchdogMode.WARN)
BARRED = e.Barred(at=16.0, reason="Its checkpoint does not fit its settings.", failure="not_resumable")
IMPORTED = e.Imported(at=18.0, outcome="stopped", reason="Its log ends at step 40 of 160.", failure="killed")

NOTES = Annotation(group="cats", tags=["good", "portrait"], note="The eyes are right.", best="my-lora.safetensors")
ANNOTATED = e.Annotated(at=19.5, annotation=NOTES)

RESTORED = e.Restored(at=20.5, removed_at=20.0)


def disowned(attempt: int = 1) -> e.Disowned:
    return e.Disowned(at=17.0, attempt=attempt)


_RUN: list[e.AnyEvent] = [submitted(), reserved(), spawned(), placed(), started()]

WAYS: dict[str, list[e.AnyEvent]] = {
    "nothing": [],
    "queued": [submitted()],
    "starting": [submitted(), reserved()],
    "running": _RUN,
    "stopping": [*_RUN, stop_asked()],
    "stopping later": [*_RUN, stop_asked(after_checkpoint=True)],
    "lost": [*_RUN, sight_lost()],
    "lost while stopping": [*_RUN, stop_asked(), sight_lost()],
    "lost while stopping later": [*_RUN, stop_asked(after_checkpoint=True), sight_lost()],
    "completed": [*_RUN, ended("completed")],
    "failed": [*_RUN, ended("failed")],
    "stopped": [*_RUN, ended("stopped")],
    "interrupted": [*_RUN, ended("interrupted")],
    "held": [submitted(), HELD],
    "interrupted and held": [*_RUN, ended("interrupted", again=False)],
}
"""The shortest history that ends in each state."""


def next_events(attempts: int) -> dict[str, e.AnyEvent]:
    """One event of each kind, as it would come after `attempts` attempts."""
    number = max(1, attempts)
    return {
        "submitted": submitted(),
        "reserved": reserved(attempts + 1),
        "spawned": spawned(number),
        "placed": placed(number),
        "started": started(number),
        "stop_asked": stop_asked(number),
        "unsupervised": unsupervised(number),
        "sight_lost": sight_lost(number),
        "sight_regained": sight_regained(number),
        **{outcome: ended(outcome, number) for outcome in OUTCOMES},
        "cancelled": CANCELLED,
        "resume_asked": RESUME_ASKED,
        "stop_later": stop_asked(number, after_checkpoint=True),
        "retried": ended("failed", number, again=True),
        "not_retried": ended("interrupted", number, again=False),
        "held": HELD,
        "released": RELEASED,
        "moved": MOVED,
        "edited": EDITED,
        "watchdog_off": WATCHDOG_OFF,
        "watchdog_warn": WATCHDOG_WARN,
        "barred": BARRED,
        "disowned": disowned(number),
        "annotated": ANNOTATED,
        "restored": RESTORED,
        "imported": IMPORTED,
        "stuck": stuck(number),
        "stuck_and_left": stuck(number, acts=False),
    }
