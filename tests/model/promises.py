# SPDX-License-Identifier: Apache-2.0
"""What users were told, and checks that it stays true. Each check raises AssertionError with what is wrong.

The checks compare the registry in memory, the journals on the disk and what the modelled machine knows. Each names
the number of its promise, if it has one.
"""

from dataclasses import dataclass, field, replace

import msgspec

from fluxgym.errors import FluxgymError
from fluxgymd.core import job as core
from fluxgymd.core.job import Final, Job, Live, Lost
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.store.job_trash import TRASH
from tests.model.life import Life
from tests.model.world import Attempt, World

BY_USER = {
    e.StopAsked: ("stop",),
    e.Cancelled: ("stop",),
    e.ResumeAsked: ("resume",),
    e.Held: ("hold",),
    e.Released: ("release", "resume"),
    e.Moved: ("move",),
    e.Edited: ("edit",),
    e.WatchdogSet: ("set_watchdog",),
    e.Annotated: ("annotate",),
    e.Restored: ("restore",),
    e.Disowned: ("resume",),
}
"""Events that only a user's call may cause, with the verbs that cause them."""


@dataclass(eq=False)
class Told:
    """One job, as its user knows it."""

    acknowledged: bool = False
    removing: int = 0
    """Removes that are in progress, or were when the daemon died."""
    removes: int = 0
    restores: int = 0
    id: str | None = None
    final: core.State | None = None
    resumes: int = 0
    resumes_at_final: int = 0
    stopped_at: int | None = None
    """The number of attempts when a stop was acknowledged. Any later attempt needs a resume."""
    checkpoint_step: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    """Calls that were begun, by verb."""


class Promises:
    def __init__(self, world: World, life: Life) -> None:
        self.world = world
        self.life = life
        self.told: dict[str, Told] = {}
        world.on_open = world.on_start = self._may_run
        life.on_death = self._daemon_dies

    # -- what is told --------------------------------------------------------------------------------------------

    def begun(self, verb: str, name: str) -> Told:
        """Records that a call goes out. Returns what is known of the job at that moment."""
        told = self.told.setdefault(name, Told())
        told.asked[verb] = told.asked.get(verb, 0) + 1
        if verb == "stop":
            self.life.wants_to_end(name)
        if verb == "resume":
            told.resumes += 1
            told.stopped_at = None
        if verb == "remove":
            told.removing += 1
            told.removes += 1
        if verb == "restore":
            told.restores += 1
        return replace(told)

    def answered(self, verb: str, name: str, before: Told, refusal: FluxgymError | None) -> None:
        """Records the answer to a call. `before`: what was known when the call went out."""
        told = self.told[name]
        there = self.life.registry.has(name)
        if verb == "remove":
            restored = told.restores > 0
            assert refusal is not None or not there or restored, f"{name} was removed, and is there"
            assert there or told.removing or not told.acknowledged, f"{name} was removed behind a resume"
            told.removing = max(0, told.removing - 1)
            if not there:
                self.told[name] = Told(asked=told.asked)
        elif verb in ("submit", "restore") and refusal is None:
            told.acknowledged = there or verb == "submit"  # a restored job may have been removed again by now
        elif verb == "resume" and refusal is None and told.removes == before.removes:
            told.removing = 0
        elif verb == "stop" and refusal is None and told.resumes == before.resumes and there:
            told.stopped_at = self.life.jobs()[name].attempts

    def _daemon_dies(self) -> None:
        """Forgets stops that no disk has recorded. They are lost with the daemon, as their answers said
        (docs/decisions/0089-a-stop-that-no-disk-records.md)."""
        for name, told in self.told.items():
            if self.life.registry.has(name) and self.life.registry.entry(name).stop_unrecorded is not None:
                told.stopped_at = None

    def _may_run(self, attempt: Attempt) -> None:
        told = self.told[attempt.job]
        if told.stopped_at is not None and (attempt.gate == "closed" or attempt.number > told.stopped_at):
            self.world.violations.append(f"{attempt.spec.unit} begins after its stop was acknowledged")

    # -- what must be true ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Checks everything, after each rule, while a daemon runs."""
        assert not self.life.faults, f"the daemon met a fault of its own: {self.life.faults}"
        assert not self.world.violations, self.world.violations
        jobs = self.life.jobs()
        self.acknowledged_jobs_are_there(jobs)
        self.no_gpu_is_given_twice(jobs)
        self.what_runs_is_leased(jobs)
        for name, job in jobs.items():
            told = self.told.setdefault(name, Told())  # its submit was cut off after the publishing
            told.id = told.id or job.id
            assert told.removing or told.id == job.id, f"{name} became another job"
            assert self.life.registry.entry(name).damage is None, f"{name} is damaged"
            if told.removing and not self.life.registry.entry(name).folder.journal.exists():
                continue
            history = self.journal_folds_to_memory(name, job)
            self.final_states_stay(name, job, history, told)
            self.nothing_is_made_up(name, history)
            self.only_the_user_asks(name, history, told)
            assert job.checkpoint_step >= told.checkpoint_step, f"{name}: its checkpoint went back"
            told.checkpoint_step = job.checkpoint_step

    def acknowledged_jobs_are_there(self, jobs: dict[str, Job]) -> None:
        """Promise 3. Also checks that no job vanishes."""
        for name, told in list(self.told.items()):
            if told.removing and name not in jobs:
                self.told[name] = Told(asked=told.asked)
            elif told.acknowledged:
                assert name in jobs, f"{name} was acknowledged, and is not there"

    def no_gpu_is_given_twice(self, jobs: dict[str, Job]) -> None:
        """Promise 4, in the registry. A reservation that the disk kept although the write failed is found only by the
        next daemon. Its GPUs may have been given away since, but it never started anything, so it doesn't count."""
        states = [job.state for job in jobs.values() if isinstance(job.state, Live)]
        attempts = [state.attempt for state in states]
        begun = [one for one in attempts if one.shim is not None or one.mark not in self.life.found]
        taken = [gpu for attempt in begun for gpu in attempt.gpus]
        assert len(taken) == len(set(taken)), f"leased twice: {taken}"

    def what_runs_is_leased(self, jobs: dict[str, Job]) -> None:
        """Promise 4, in the world: a job holds its GPUs while any of its processes lives, even if it is lost."""
        for attempt in self.world.attempts:
            if not attempt.runs:
                continue
            job = jobs.get(attempt.job)
            assert job is not None, f"{attempt.spec.unit} runs, and its job is gone"
            assert isinstance(job.state, Live), f"{attempt.spec.unit} runs, and its job is {job.state}"
            assert job.state.attempt.number == attempt.number, f"{attempt.spec.unit} runs beside its job"
            assert list(job.lease or ()) == attempt.gpus, f"{attempt.spec.unit} runs without its lease"
        for job in jobs.values():
            assert not isinstance(job.state, Lost) or job.lease is not None, f"{job.name} is lost, and holds nothing"

    def journal_folds_to_memory(self, name: str, job: Job) -> list[e.AnyEvent]:
        """Checks that the journal's events lead to the job in memory; returns those events. The journal may have one
        more: one that is still being recorded, or one that the disk kept although the write failed."""
        folder = self.life.registry.entry(name).folder
        lines = folder.journal.read_bytes().split(b"\n")
        history = []
        for line in lines[:-1]:
            try:
                history.append(e.decode(line))
            except msgspec.MsgspecError as error:
                raise AssertionError(f"{name}: {line!r} is in its journal: {error}") from error
        if core.fold(history) != job and len(history) > 1:
            history.pop()
        assert core.fold(history) == job, f"{name}: its journal tells of another job than memory"
        return history

    def final_states_stay(self, name: str, job: Job, history: list[e.AnyEvent], told: Told) -> None:
        """A job that has ended starts again only after a resume."""
        resumes = sum(isinstance(event, e.ResumeAsked) for event in history)
        if told.final is not None and job.state != told.final:
            assert resumes > told.resumes_at_final, f"{name} was {told.final}, and is {job.state}"
            told.final = None
        if isinstance(job.state, Final) and told.final is None:
            told.final, told.resumes_at_final = job.state, resumes

    def nothing_is_made_up(self, name: str, history: list[e.AnyEvent]) -> None:
        """Promise 2: an exit is recorded as the shim wrote it. If the shim wrote none, none is recorded."""
        by_mark = {attempt.mark: attempt for attempt in self.world.attempts}
        marks = {event.attempt: event.mark for event in history if isinstance(event, e.Reserved)}
        for event in history:
            if not isinstance(event, e.Ended):
                continue
            attempt = by_mark.get(marks[event.attempt])
            ran = attempt is not None and attempt.ran
            if event.outcome == "never_started":
                assert not ran, f"{name}: attempt {event.attempt} ran, and is told as never started"
                continue
            written = attempt.exit if attempt is not None and attempt.exit is not None else None
            if written is None or written.kind == "never-started":
                never = (None, ExitRecord(kind="never-started"))
                assert event.exit in never, (
                    f"{name}: attempt {event.attempt} left no record, but {event.exit} is told"
                )
            elif event.exit is not None or ran:
                assert event.exit == written, (
                    f"{name}: {event.exit} is told of attempt {event.attempt}, not {written}"
                )

    @staticmethod
    def only_the_user_asks(name: str, history: list[e.AnyEvent], told: Told) -> None:
        """Events that belong to the user never happen without a call."""
        for kind, verbs in BY_USER.items():
            count = sum(isinstance(event, kind) for event in history)
            asked = sum(told.asked.get(verb, 0) for verb in verbs)
            assert count <= asked, f"{name}: {count} times {kind.__name__}, asked for {asked} times"

    # -- in the end ----------------------------------------------------------------------------------------------

    def check_settled(self) -> None:
        """Checks the final states, after all disturbances are over and all trainers have finished."""
        self.check()
        jobs = self.life.jobs()
        for name, job in jobs.items():
            told = self.told[name]
            assert not isinstance(job.state, Live), f"{name} is {job.state} for ever"
            if told.stopped_at is not None:
                assert isinstance(job.state, Final), f"{name} was stopped, and is {job.state}"
            elif not isinstance(job.state, Final) and not job.held:
                ahead = [jobs.get(other) for other in job.context.after or ()]
                waits = any(other is None or not isinstance(other.state, core.Completed) for other in ahead)
                assert waits, f"{name} is {job.state} for ever, and nothing is in its way"
        names = {path.name for path in (self.world.home / "outputs").iterdir()}
        hidden = [name for name in names - {TRASH} if name.startswith(".")]
        assert not hidden, f"left behind: {hidden}"
