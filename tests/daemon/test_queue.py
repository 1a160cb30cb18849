# SPDX-License-Identifier: Apache-2.0
"""The queue with the real daemon: hold, order, edit, dependencies, pause, programs, GPUs and retries.

Most jobs are programs that take milliseconds; trainings are used only where a test needs one.
"""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from fluxgym.errors import FileMissing, FluxgymError, InvalidSetting, NoSuchJob, WrongState
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import (
    Context,
    ExitKind,
    Failure,
    FailureKind,
    Job,
    Kind,
    RestartPolicy,
    State,
    WaitingFor,
)
from fluxgymd.core.failure import advice
from tests.daemon.running import DONE, RunningDaemon, context, program, write_script
from tests.gpus.nvml import Nvml, gpu
from tests.harness.waiting import until
from tests.store.files import LORA, our_state

PROCESS = ("--supervisor", "process")


def waits_for(daemon: RunningDaemon, name: str, reason: WaitingFor) -> Job:
    """Waits until the scheduler reports this reason for the job to wait."""

    def look() -> Job | None:
        job = daemon.job(name)
        return job if job.runtime.waiting_for is reason else None

    return until(look, what=f"{name} to wait for {reason}")


def begun(daemon: RunningDaemon, *names: str) -> list[str]:
    """The jobs in the order in which their first attempts began."""
    first = {name: next(line["at"] for line in daemon.events(name) if line["event"] == "reserved") for name in names}
    return sorted(first, key=lambda name: first[name])


def kinds(daemon: RunningDaemon, name: str) -> list[str]:
    return [line["event"] for line in daemon.events(name)]


def named(method: m.Method[Any, Any]) -> Callable[[RunningDaemon, str], Job]:
    def call(daemon: RunningDaemon, name: str) -> Job:
        job = daemon.call(method, m.JobName(name=name)).job
        assert isinstance(job, Job)
        return job

    return call


hold, release = named(m.HOLD), named(m.RELEASE)


def edit(daemon: RunningDaemon, **changes: Any) -> Job:
    job = daemon.call(m.EDIT, m.SubmitParameters(job=Context(**changes))).job
    assert isinstance(job, Job)
    return job


def resume(daemon: RunningDaemon, name: str) -> None:
    daemon.call(m.RESUME, m.ResumeParameters(name=name))


def stop(daemon: RunningDaemon, name: str, *, after_checkpoint: bool | None = None) -> Job:
    job = daemon.call(m.STOP, m.StopParameters(name=name, after_checkpoint=after_checkpoint)).job
    assert isinstance(job, Job)
    return job


def refused(
    call: Callable[..., object], *arguments: Any, error: type[FluxgymError] = WrongState, **changes: Any
) -> str:
    """The message with which the daemon refuses a call."""
    with pytest.raises(error) as refusal:
        call(*arguments, **changes)
    return refusal.value.message


def test_a_held_job_waits_until_it_is_released(daemon: RunningDaemon) -> None:
    daemon.submit(program("first", held=True))
    daemon.submit(program("second", after=["first"]))
    waits_for(daemon, "first", WaitingFor.HELD)
    assert refused(hold, daemon, "first") == "The job first: it is already on hold."
    assert refused(release, daemon, "second") == "The job second: it is not on hold."
    hold(daemon, "second")
    waits_for(daemon, "second", WaitingFor.HELD)

    daemon.kill()
    daemon.start()
    release(daemon, "first")
    daemon.wait("first", State.COMPLETED)
    assert refused(hold, daemon, "first") == "The job first: it is completed and not waiting in the queue."
    waits_for(daemon, "second", WaitingFor.HELD)
    release(daemon, "second")
    daemon.wait("second", State.COMPLETED)
    assert kinds(daemon, "second")[:3] == ["submitted", "held", "released"]
    # A held job can be cancelled, and resuming a job releases it.
    daemon.submit(program("third", held=True))
    assert stop(daemon, "third").runtime.state is State.STOPPED
    resume(daemon, "third")
    daemon.wait("third", State.COMPLETED)


def test_the_order_is_that_of_priorities_ranks_and_moves(folder: Path) -> None:
    with RunningDaemon(folder, arguments=PROCESS, env={"FLUXGYM_QUEUE_PROGRAM_SLOTS": "1"}) as daemon:
        daemon.call(mm.PAUSE, m.Nothing())
        for name, priority in (("a", 0), ("b", 0), ("c", 0), ("d", 0), ("urgent", 5), ("some-day", -5)):
            daemon.submit(program(name, priority=priority))

        def move(name: str, before: str | None = None) -> None:
            daemon.call(m.MOVE, m.MoveParameters(name=name, before=before))

        move("c", before="a")
        move("d")  # moves it to the front and gives it the priority there
        moved = daemon.job("d").context
        assert moved.priority == 5
        assert refused(move, "a", before="a") == "The job a: it cannot be put before itself."
        refused(move, "a", before="nobody", error=NoSuchJob)
        edit(daemon, name="d", program=["/bin/sh", "-c", f"true; {DONE}"])  # an edit does not undo the move
        for _ in range(15):  # back and forth, until no number is left between two ranks
            move("b", before="a")
            move("c", before="b")
            move("c", before="a")
            move("b", before="c")
        order = ["d", "urgent", "b", "c", "a", "some-day"]
        assert kinds(daemon, "a").count("moved") > 0  # the daemon has renumbered, to make room
        daemon.call(mm.CONTINUE, m.Nothing())
        for name in order:
            daemon.wait(name, State.COMPLETED)
        assert begun(daemon, *order) == order
        assert refused(move, "a") == "The job a: it is completed and not waiting in the queue."
        daemon.submit(program("last", held=True))
        assert refused(move, "last", before="a") == "The job a is not waiting in the queue."


def test_a_waiting_job_can_be_edited_and_is_checked_as_at_submit(daemon: RunningDaemon) -> None:
    daemon.submit(program("my-job", "exit 3", held=True))
    daemon.submit(program("other", after=["my-job"]))
    before = daemon.events("my-job")
    says: dict[str, dict[str, Any]] = {
        "kind cannot be changed; submit another job instead.": {"kind": Kind.TRAINING},
        "held cannot be changed; use hold and release.": {"held": False},
        "epochs is only for trainings, not for programs.": {"epochs": 3},
        "priority is 5000, but must be from -1000 to 1000.": {"priority": 5000},
        "after would make my-job wait for itself.": {"after": ["other"]},
        "A job cannot wait for itself.": {"after": ["my-job"]},
    }
    for sentence, changes in says.items():
        assert refused(edit, daemon, name="my-job", error=InvalidSetting, **changes) == sentence
    refused(edit, daemon, name="my-job", program=["/no/such/program"], error=FileMissing)
    refused(edit, daemon, name="my-job", after=["nobody"], error=NoSuchJob)
    refused(edit, daemon, name="nobody", priority=1, error=NoSuchJob)
    assert daemon.events("my-job") == before  # a refused edit changes nothing

    edited = edit(daemon, name="my-job", program=["/bin/sh", "-c", DONE], priority=3).context
    assert (edited.priority, edited.program) == (3, ["/bin/sh", "-c", DONE])
    release(daemon, "my-job")
    daemon.wait("other", State.COMPLETED)
    assert refused(edit, daemon, name="my-job", priority=1) == "The job my-job: it is completed."


def test_a_reused_name_cannot_create_a_dependency_cycle(daemon: RunningDaemon) -> None:
    daemon.submit(program("a", held=True))
    daemon.submit(program("b", after=["a"]))
    stop(daemon, "a")
    daemon.call(m.REMOVE, m.JobName(name="a"))
    waits = until(lambda: daemon.job("b").runtime.reason, what="b to say what it waits for")
    assert waits == "a must be completed first, but it does not exist or is damaged."
    again = program("a", after=["b"])
    assert refused(daemon.submit, again, error=InvalidSetting) == "after would make a wait for itself."
    daemon.submit(program("a"))
    daemon.wait("b", State.COMPLETED)


def test_a_job_waits_for_others_and_says_why_if_they_failed(daemon: RunningDaemon) -> None:
    daemon.submit(program("good", held=True))
    daemon.submit(program("bad", "exit 1"))
    daemon.submit(program("both", after=["good", "bad"]))
    daemon.wait("bad", State.FAILED)
    waits_for(daemon, "both", WaitingFor.JOB)
    release(daemon, "good")
    daemon.wait("good", State.COMPLETED)
    why = "bad must be completed first, but it failed."
    until(lambda: daemon.job("both").runtime.reason == why, what="the reason to be told")
    assert waits_for(daemon, "both", WaitingFor.JOB).runtime.state is State.QUEUED
    edit(daemon, name="bad", program=["/bin/sh", "-c", DONE])
    resume(daemon, "bad")
    daemon.wait("both", State.COMPLETED)
    assert begun(daemon, "both", "good", "bad")[-1] == "both"
    refused(daemon.submit, program("lonely", after=["nobody"]), error=NoSuchJob)
    assert not daemon.folder("lonely").exists()


def test_a_pause_outlives_the_daemon_and_running_jobs_continue(daemon: RunningDaemon) -> None:
    daemon.submit(program("runs", f"while [ ! -e go ]; do sleep 0.05; done; {DONE}"))
    daemon.wait("runs", State.RUNNING)
    daemon.call(mm.PAUSE, m.Nothing())
    daemon.submit(program("waits"))
    waits_for(daemon, "waits", WaitingFor.PAUSED)
    daemon.kill()
    daemon.start()
    assert daemon.info().queue_paused
    waits_for(daemon, "waits", WaitingFor.PAUSED)
    (daemon.folder("runs") / "go").touch()
    daemon.wait("runs", State.COMPLETED)
    assert kinds(daemon, "waits") == ["submitted"]
    daemon.call(mm.CONTINUE, m.Nothing())
    daemon.wait("waits", State.COMPLETED)
    daemon.kill()
    daemon.start()
    assert not daemon.info().queue_paused


def test_programs_run_beside_a_training_which_can_be_stopped_after_its_checkpoint(
    daemon: RunningDaemon, model: Path
) -> None:
    daemon.submit(context("training", model, epochs=1000))
    daemon.wait_for_step("training", 1)
    daemon.submit(context("next", model))
    waits_for(daemon, "next", WaitingFor.GPU)
    daemon.submit(program("captions"))
    done = daemon.wait("captions", State.COMPLETED)
    assert done.runtime.result == str(daemon.folder("captions") / "result.json")
    assert daemon.job("training").runtime.state is State.RUNNING
    assert daemon.job("next").runtime.state is State.QUEUED
    stop(daemon, "next")
    assert refused(edit, daemon, name="training", epochs=2) == "The job training: it is running; stop it first."

    before = {state.name for state in daemon.call(m.CHECKPOINTS, m.JobName(name="training")).checkpoints}
    assert stop(daemon, "training", after_checkpoint=True).runtime.state is State.STOPPING
    refused(stop, daemon, "training", after_checkpoint=True)
    daemon.wait("training", State.STOPPED)
    log = daemon.folder("training").joinpath("monitor.log").read_text()
    assert "Stop: SIGTERM sent to the trainer" in log
    after = {state.name for state in daemon.call(m.CHECKPOINTS, m.JobName(name="training")).checkpoints}
    assert after - before
    assert [line.get("afterCheckpoint") for line in daemon.events("training") if line["event"] == "stop_asked"] == [
        True
    ]


OUTCOMES = {
    "nothing": ("true", "It exited with status 0, but it wrote no result.json."),
    "missing": (
        """echo '{"files": [{"path": "a.txt", "size": 3}]}' > result.json""",
        "It exited with status 0, but 'a.txt', which result.json names, is missing.",
    ),
    "short": (
        """printf ab > a.txt; echo '{"files": [{"path": "a.txt", "size": 3}]}' > result.json""",
        "It exited with status 0, but 'a.txt' has 2 bytes, but result.json says 3.",
    ),
    "nonsense": ("echo done > result.json", "It exited with status 0, but result.json cannot be read: "),
    "hostile": ("mkfifo result.json", "It exited with status 0, but result.json cannot be read: it is a FIFO, "),
    "failed": (f"{DONE}; echo oh no; exit 7", "It exited with status 7: oh no."),
}


def test_a_program_is_completed_by_its_result(daemon: RunningDaemon) -> None:
    for name, (script, _) in OUTCOMES.items():
        daemon.submit(program(name, script))
    whole = """printf abc > a.txt; echo '{"files": [{"path": "a.txt", "size": 3}]}' > result.json"""
    daemon.submit(program("whole", whole))
    daemon.wait("whole", State.COMPLETED)
    for name, (_, reason) in OUTCOMES.items():
        told = daemon.wait(name, State.FAILED).runtime
        assert (told.reason or "").startswith(reason), name
        assert told.failure is not None
        assert (told.failure.kind, told.result) == (FailureKind.OTHER, None)
    # A result.json of an earlier attempt does not count.
    edit(daemon, name="failed", program=["/bin/true"])
    resume(daemon, "failed")
    until(lambda: kinds(daemon, "failed").count("ended") == 2, what="the second attempt to end")
    assert daemon.wait("failed", State.FAILED).runtime.reason == (
        "It exited with status 0, but result.json is from an earlier attempt."
    )


def test_a_program_that_cannot_be_run_is_refused_or_fails(daemon: RunningDaemon, folder: Path) -> None:
    plain, odd = folder / "plain", folder / "odd"
    plain.write_text("not a program")
    odd.write_bytes(b"\x01\x02\x03")
    odd.chmod(0o700)
    for path in (plain, folder, folder / "nowhere"):
        unusable = Context(name="refused", kind=Kind.PROGRAM, program=[str(path)])
        message = refused(daemon.submit, unusable, error=FileMissing)
        assert message == f"The program {path} does not exist or is not executable."
    assert not list((daemon.home / "outputs").glob("*refused*"))

    daemon.submit(Context(name="odd", kind=Kind.PROGRAM, program=[str(odd)]))
    told = daemon.wait("odd", State.FAILED).runtime
    assert told.reason == "It could not be started: the file is not a program that this machine can run."
    assert told.failure is not None
    assert told.failure.kind is FailureKind.BAD_SETTING
    assert told.attempt is not None
    assert told.attempt.exit is not None
    assert told.attempt.exit.kind is ExitKind.EXEC_FAILED

    odd.write_text(f"#!/bin/sh\n{DONE}\n")
    daemon.submit(Context(name="gone", kind=Kind.PROGRAM, program=[str(odd)], held=True))
    odd.rename(plain)
    release(daemon, "gone")
    told = daemon.wait("gone", State.FAILED).runtime
    assert told.failure is not None
    assert told.failure.kind is FailureKind.MISSING_FILE
    plain.rename(odd)
    resume(daemon, "gone")
    daemon.wait("gone", State.COMPLETED)


def test_each_failure_has_its_kind_and_its_advice(daemon: RunningDaemon) -> None:
    scripts = {
        FailureKind.KILLED: "kill -KILL $$",
        FailureKind.CRASHED: "kill -SEGV $$",
        FailureKind.BAD_SETTING: "echo 'error: unrecognized arguments: --x'; exit 2",
        FailureKind.MISSING_FILE: "cat /nowhere",
        FailureKind.DISK_FULL: "cat /bin/sh > /dev/full",
        FailureKind.GPU_OUT_OF_MEMORY: "echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1",
        FailureKind.OTHER: "exit 2",  # only the program knows what 2 means
    }
    for kind, script in scripts.items():
        daemon.submit(program(kind.replace("_", "-"), script))
    for kind in scripts:
        name = kind.replace("_", "-")
        failure = daemon.wait(name, State.FAILED).runtime.failure
        log_is_empty = daemon.training_log(name) == ""
        assert failure == Failure(kind=kind, advice=advice(kind, name=name, log_is_empty=log_is_empty))
        assert not (log_is_empty and "fluxgymctl logs" in failure.advice)
    daemon.submit(program("talkative", "echo so; exit 2"))
    failure = daemon.wait("talkative", State.FAILED).runtime.failure
    assert failure is not None
    assert failure.advice == "`fluxgymctl logs talkative` shows more."
    assert daemon.job("killed").runtime.reason == "It was killed by SIGKILL."


ONCE = f"if [ -e once ]; then {DONE}; exit 0; fi; touch once"


def test_an_interrupted_job_is_resumed_automatically_unless_the_policy_says_never(daemon: RunningDaemon) -> None:
    daemon.submit(program("usual", f"{ONCE}; kill -TERM $$"))
    daemon.submit(program("never", f"{ONCE}; kill -TERM $$", restart=RestartPolicy.NEVER))
    daemon.wait("usual", State.COMPLETED)
    assert [line["outcome"] for line in daemon.events("usual") if line["event"] == "ended"] == [
        "interrupted",
        "completed",
    ]
    daemon.wait("never", State.INTERRUPTED)
    waits_for(daemon, "never", WaitingFor.HELD)
    daemon.kill()
    daemon.start()
    waits_for(daemon, "never", WaitingFor.HELD)
    resume(daemon, "never")
    daemon.wait("never", State.COMPLETED)
    with Connection(daemon.socket) as connection:
        told = [reply.text for reply in connection.stream(m.HISTORY, m.JobName(name="never"))]
    assert told[-1] is None
    assert "It was interrupted. It was ended from outside FluxGym by SIGTERM." in told
    assert told[-2] == "Finished successfully."


def test_a_failure_is_retried_after_pauses_and_not_forever(daemon: RunningDaemon) -> None:
    daemon.submit(program("fails", "echo the net is away; exit 1", restart=RestartPolicy.ON_FAILURE))
    daemon.submit(program("pointless", "cat /nowhere", restart=RestartPolicy.ON_FAILURE))
    daemon.wait("pointless", State.FAILED)
    pauses: list[int] = []

    def look() -> Job | None:
        job = daemon.job("fails")
        attempt = job.runtime.attempt
        tried_again = job.runtime.waiting_for is WaitingFor.BACK_OFF and attempt and attempt.number > len(pauses)
        return job if tried_again or job.runtime.state is State.FAILED else None

    while (told := until(look, what="the attempt to end").runtime).state is not State.FAILED:
        end = daemon.events("fails")[-1]
        assert told.not_before == end["notBefore"]
        assert told.reason == "It exited with status 1: the net is away."
        pauses.append(round(end["notBefore"] - end["at"]))
        daemon.kill()
        turn_back(daemon.folder("fails") / "events.jsonl", seconds=3600)
        daemon.start()
    assert pauses == [30, 120, 300, 900]
    assert told.reason == (
        "It exited with status 1: the net is away. "
        "It was tried 5 times without a new checkpoint and will not be retried."
    )
    assert told.attempt is not None
    assert told.attempt.number == 5


def turn_back(journal: Path, *, seconds: float) -> None:
    """Makes the journal look as if everything had happened this many seconds earlier."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        for key in ("at", "notBefore"):
            if key in line:
                line[key] -= seconds
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_failure_is_retried_at_once_while_checkpoints_advance(folder: Path, model: Path) -> None:
    """The trainer is a shell script that fails after each checkpoint."""
    states = [our_state(folder / f"state-{number}", epoch=number, step=10 * number) for number in (1, 2)]
    first, second, lora = (shlex.quote(str(path)) for path in (*states, folder / "lora"))
    (folder / "lora").write_bytes(LORA)
    (folder / "trainer").mkdir()
    (folder / "trainer" / "flux_train_network.py").write_text(f"""
        if [ -e advances-000002-state ]; then cp {lora} advances.safetensors; exit 0; fi
        if [ -e advances-000001-state ]; then cp -r {second} advances-000002-state; exit 1; fi
        cp -r {first} advances-000001-state; exit 1
    """)
    env = {"FLUXGYM_TRAINER_PATH": str(folder / "trainer"), "FLUXGYM_TRAINER_PYTHON": "/bin/sh"}
    with RunningDaemon(folder, arguments=PROCESS, env=env) as daemon:
        daemon.submit(context("advances", model, restart=RestartPolicy.ON_FAILURE))
        daemon.wait("advances", State.COMPLETED)
        ends = [line for line in daemon.events("advances") if line["event"] == "ended"]
    assert [end["checkpointStep"] for end in ends] == [10, 20, 20]


def test_after_a_wrong_setting_is_named_and_corrected_the_training_continues(
    daemon: RunningDaemon, model: Path
) -> None:
    block = {"network_args": ["train_double_block_indices=99"]}
    wrong = context("my-lora", model, epochs=1)
    given = wrong.trainer_options
    assert given is not None
    with pytest.raises(InvalidSetting, match="names block 99"):
        daemon.submit(replace(wrong, trainer_options=given | block))
    # Which kernels exist is known only on the GPU, when the training starts.
    daemon.submit(replace(wrong, trainer_options=given | {"attention": ["efficient"]}))
    failed = daemon.wait("my-lora", State.FAILED).runtime
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.BAD_SETTING
    assert "needs an NVIDIA GPU" in (failed.reason or "")
    for options, sentence in ((block, "names block 99"), ({"lr_scheduler": ["roller_coaster"]}, "'roller_coaster'")):
        with pytest.raises(InvalidSetting, match=sentence):
            edit(daemon, name="my-lora", trainer_options=options)
    edit(daemon, name="my-lora", trainer_options={"attention": ["auto"]}, save_every_epochs=2)
    resume(daemon, "my-lora")
    done = daemon.wait("my-lora", State.COMPLETED).context
    assert done.trainer_options == {**given, "attention": ["auto"]}
    assert done.save_every_epochs == 2


def test_promise_4_gpus_are_given_as_requested(nvml_library: Path, folder: Path, model: Path) -> None:
    nvml = Nvml(nvml_library, folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), gpu("GPU-bbbb"), gpu("GPU-cccc"))
    # No such GPU exists, so a job that holds one only sleeps.
    python = write_script(folder / "python", 'case "$*" in *describe.py*) exit 1 ;; esac; exec sleep 1000')
    env = {**nvml.environment, "FLUXGYM_TRAINER_PYTHON": str(python)}
    with RunningDaemon(folder, arguments=PROCESS, env=env) as daemon:
        daemon.call(mm.GPUS, m.Nothing())

        def gpus(name: str) -> list[str]:
            attempt = daemon.wait(name, State.RUNNING).runtime.attempt
            assert attempt is not None
            return attempt.gpus

        for changes, sentence in (
            ({"gpus": ["3"]}, "There is no GPU 3 on this machine; give 0 to 2, or a UUID."),
            ({"gpus": ["GPU-dddd"]}, "There is no GPU GPU-dddd on this machine; give 0 to 2, or a UUID."),
            ({"gpu_count": 4}, "gpu_count is 4, but this machine has 3."),
        ):
            wrong = context("wrong", model, **changes)
            assert refused(daemon.submit, wrong, error=InvalidSetting) == sentence

        daemon.submit(context("pair", model, gpu_count=2, gpus=["0", "GPU-cccc"], epochs=1000))
        assert gpus("pair") == ["GPU-aaaa", "GPU-cccc"]
        pid = daemon.job("pair").runtime.attempt
        assert pid is not None
        assert psutil.Process(pid.pid).environ()["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa,GPU-cccc"
        daemon.submit(context("both", model, gpu_count=2, epochs=1000))
        waits_for(daemon, "both", WaitingFor.GPU)
        daemon.submit(context("small", model, epochs=1000))
        waits_for(daemon, "small", WaitingFor.GPU)  # GPU-bbbb is reserved for `both`, which is ahead in the queue
        daemon.submit(program("captions"))
        daemon.wait("captions", State.COMPLETED)

        # Leases and ranks are recorded with the jobs: a restart changes neither.
        daemon.kill()
        daemon.start()
        waits_for(daemon, "small", WaitingFor.GPU)
        edit(daemon, name="small", gpus=["1"])
        hold(daemon, "both")
        assert gpus("small") == ["GPU-bbbb"]
        stop(daemon, "pair")
        daemon.wait("pair", State.STOPPED)
        stop(daemon, "small")
        daemon.wait("small", State.STOPPED)
        stop(daemon, "both")


def test_a_stop_at_the_moment_of_the_end_is_not_lost(daemon: RunningDaemon) -> None:
    """Each program ends as if interrupted, which FluxGym would normally resume, while the user stops it."""
    for number in range(20):
        name = f"job-{number}"
        daemon.submit(program(name, "while [ ! -e go ]; do :; done; kill -TERM $$"))
        daemon.wait(name, State.RUNNING)
        (daemon.folder(name) / "go").touch()
        for _ in range(number):
            daemon.info()  # so that stops arrive before, during and after the end
        stop(daemon, name)
        daemon.wait(name, State.STOPPED)
        told = kinds(daemon, name)
        assert told.count("stop_asked") + told.count("cancelled") == 1
        if told.count("stop_asked"):
            assert told[-1] == "ended"
