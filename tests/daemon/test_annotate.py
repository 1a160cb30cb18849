# SPDX-License-Identifier: Apache-2.0
"""Notes about a job survive the daemon, are possible in any state, and appear in `list` and `status`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import InvalidSetting, NoSuchJob
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Annotation, Context, Kind, State
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.call(mm.PAUSE, m.Nothing())
        for name in ("cat-1", "cat-2", "dog"):
            daemon.submit(Context(name=name, kind=Kind.PROGRAM, program=["/bin/true"]))
        yield daemon


def annotate(daemon: RunningDaemon, name: str, **notes: object) -> Annotation | None:
    job = daemon.call(m.ANNOTATE, m.AnnotateParameters(name=name, **notes)).job  # type: ignore[arg-type]
    assert job == daemon.job(name)
    annotation = job.annotation
    assert annotation is None or isinstance(annotation, Annotation)
    return annotation


def test_notes_survive_other_changes_and_a_restart(daemon: RunningDaemon) -> None:
    assert annotate(daemon, "cat-1", group="cats", tags=["good"]) == Annotation(group="cats", tags=["good"])
    daemon.call(m.STOP, m.StopParameters(name="cat-1"))
    daemon.wait("cat-1", State.STOPPED)
    noted = annotate(daemon, "cat-1", note="The eyes are right.")
    assert noted == Annotation(group="cats", tags=["good"], note="The eyes are right.")
    events = len(daemon.events("cat-1"))
    assert annotate(daemon, "cat-1", tags=["good"]) == noted
    assert len(daemon.events("cat-1")) == events, "what changes nothing is not recorded"
    daemon.kill()
    daemon.start()
    assert daemon.job("cat-1").annotation == noted
    assert annotate(daemon, "cat-1", group="", tags=[], note="") is None
    assert daemon.events("cat-1")[-1]["event"] == "annotated"


def test_the_best_lora_must_be_one_of_the_job(daemon: RunningDaemon) -> None:
    def refusal(best: str) -> str:
        with pytest.raises(InvalidSetting) as refused:
            annotate(daemon, "dog", best=best)
        return refused.value.message

    assert refusal("dog.safetensors") == "best is dog.safetensors, which is not a LoRA of dog; it has none yet."
    (daemon.folder("dog") / "dog-000002.safetensors").touch()
    (daemon.folder("dog") / "other.safetensors").touch()
    for best in ("../cat-1/events.jsonl", "events.jsonl", "other.safetensors"):
        assert refusal(best) == f"best is {best}, which is not a LoRA of dog; it has dog-000002.safetensors."
    noted = annotate(daemon, "dog", best="dog-000002.safetensors")
    assert noted == Annotation(tags=[], best="dog-000002.safetensors")
    with pytest.raises(NoSuchJob):
        annotate(daemon, "nobody", group="cats")


def test_the_verb_adds_and_removes_tags_and_list_finds_jobs_by_them(daemon: RunningDaemon) -> None:
    def names(*words: str) -> list[str]:
        lines = ctl("list", *words, socket=daemon.socket).stdout.splitlines()[1:]
        return [line.split()[0] for line in lines]

    def noted(*words: str) -> None:
        done = ctl("annotate", *words, socket=daemon.socket)
        assert (done.returncode, done.stderr) == (0, f"fluxgymctl: Saved the notes about {words[0]}.\n")

    assert "GROUP" not in ctl("list", socket=daemon.socket).stdout
    noted("cat-1", "--group", "cats", "--tag", "good", "--tag", "new")
    noted("cat-1", "--untag", "new", "--tag", "old", "--note", "The eyes are right.")
    noted("cat-2", "--group", "cats", "--tag", "old")
    assert names("--group", "cats") == ["cat-2", "cat-1"]
    assert names("--group", "cats", "--limit", "1") == ["cat-2"]
    assert names("--tag", "old", "--tag", "good") == ["cat-1"]
    nothing = ctl("list", "--group", "dogs", socket=daemon.socket)
    assert (nothing.stdout, nothing.stderr) == ("", "fluxgymctl: No job matches this group and these tags.\n")
    header, *lines = ctl("list", socket=daemon.socket).stdout.splitlines()
    assert header.split()[-3:] == ["GROUP", "TAGS", "WHY"]
    (line,) = [line for line in lines if line.startswith("cat-1 ")]
    assert "  cats   good old  " in line
    shown = ctl("status", "cat-1", socket=daemon.socket).stdout
    facts = {label: value.strip() for label, _, value in (line.partition(":") for line in shown.splitlines())}
    assert (facts["Group"], facts["Tags"], facts["Note"]) == ("cats", "good, old", "The eyes are right.")
    refused = ctl("annotate", "cat-1", socket=daemon.socket)
    assert refused.returncode == 2
    assert "There is nothing to change" in refused.stderr
