# SPDX-License-Identifier: Apache-2.0
"""Tests of what the daemon relies on in every trainer, on real programs: our trainer on a tiny Flux, a program that
behaves like sd-scripts, and a shell script. Each adapter of trainers/port.py has a row here."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Kind, Phase
from fluxgym.protocol.output_messages import FileKind
from fluxgymd.attempts import processes
from fluxgymd.core.job import Attempt, Live, fold
from fluxgymd.core.resume import Begin, CheckpointFacts, GoOn, choose, newest
from fluxgymd.core.wishes import REQUESTS
from fluxgymd.store.formats import result
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.choice import traits
from fluxgymd.trainers.port import CheckpointVerdict, CheckReport, ProblemKind, Question, Trainer
from tests.core import histories as h
from tests.daemon.conftest import model  # noqa: F401 - a fixture
from tests.daemon.running import ROOT, TRAINER_PYTHON, context
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.trainers.adapters import trainers

STEPS = 32
NAME = "my-job"
PROGRAM = """
i=0
while [ $i -lt 4 ]; do
    i=$((i + 1))
    echo '{"time":1,"phase":"training","step":'$i',"totalSteps":4}' >>"$FLUXGYM_METRICS"
    read -r _ || true
done
echo words >made.txt
echo '{"files": [{"path": "made.txt", "size": 6}]}' >result.json
"""


class Bench:
    """A trainer and a job, with what the daemon does with them."""

    def __init__(self, trainer: Trainer, asked: Context, home: Path) -> None:
        self.trainer = trainer
        self.context = trainer.complete(asked, home)
        self.folder = JobFolder(home / "outputs" / NAME)
        self.folder.path.mkdir(parents=True)
        if trainer.traits.takes_dataset:
            shutil.copytree(str(asked.dataset), self.folder.dataset)

    def question(self, resume: str | None = None, **changes: object) -> Question:
        changed = msgspec.structs.replace(self.context, **changes)
        return Question(context=changed, folder=self.folder, pictures=(self.folder.dataset,), resume=resume)

    def check(self, question: Question) -> CheckReport:
        return asyncio.run(self.trainer.check(question))

    def start(self, resume: str | None = None) -> subprocess.Popen[bytes]:
        """Starts the trainer as an attempt does."""
        for name, data in self.trainer.files(self.context, self.folder).items():
            (self.folder.path / name).write_bytes(data)
        argv = self.trainer.argv(self.context, self.folder, resume=resume, gpus=0)
        environ = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "FLUXGYM_METRICS": str(self.folder.metrics)}
        with self.folder.log.open("ab") as log:
            return subprocess.Popen(
                argv, cwd=self.folder.path, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def run(self, resume: str | None = None) -> None:
        status = self.start(resume).wait(timeout=DEADLINE_SECONDS)
        assert status == 0, self.folder.log.read_text(errors="replace")

    def attempt(self, step: int = 0) -> Attempt:
        state = fold(h.WAYS["running"]).state
        assert isinstance(state, Live)
        return msgspec.structs.replace(state.attempt, step=step, log_offset=0, metrics_offset=0)

    def checkpoints(self) -> list[CheckpointFacts]:
        return self.trainer.checkpoints(self.context, self.folder)


def rows() -> list[str]:
    return ["ours", "sd_scripts", "program"]


@pytest.fixture(params=rows())
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    home = Path(tempfile.mkdtemp(prefix="fg-"))
    if request.param == "program":
        asked = Context(name=NAME, kind=Kind.PROGRAM, program=["/bin/sh", "-c", PROGRAM])
        yield Bench(trainers().of(asked), asked, home)
    else:
        ours = request.param == "ours"
        path = ROOT / "sd-scripts" if ours else ROOT / "tests" / "daemon" / "sd_scripts"
        asked = context(NAME, request.getfixturevalue("model"), repeats=1)
        known = trainers(path, python=TRAINER_PYTHON if ours else Path(sys.executable))
        yield Bench(known.of(asked), asked, home)
    shutil.rmtree(home)


def test_a_good_job_has_no_problems_and_a_check_changes_nothing(bench: Bench) -> None:
    before = sorted(bench.folder.path.rglob("*"))
    report = bench.check(bench.question())
    assert report.problems == ()
    assert (report.disk_bytes > 0) == bench.trainer.traits.makes_checkpoints
    assert sorted(bench.folder.path.rglob("*")) == before


def test_everything_that_is_wrong_is_said_at_once_the_dataset_first(bench: Bench) -> None:
    if not bench.trainer.traits.takes_dataset:
        problems = bench.check(bench.question(program=["/none/program"])).problems
        assert [(each.kind, each.path) for each in problems] == [(ProblemKind.MISSING_FILE, "/none/program")]
        return
    shutil.rmtree(bench.folder.dataset)
    assert bench.context.model is not None
    nothing = msgspec.structs.replace(bench.context.model, t5xxl="/none/t5", autoencoder="/none/ae")
    problems = bench.check(bench.question(model=nothing)).problems
    assert [(each.kind, each.path) for each in problems[:3]] == [
        (ProblemKind.DATASET, str(bench.folder.dataset)),
        (ProblemKind.MISSING_FILE, "/none/t5"),
        (ProblemKind.MISSING_FILE, "/none/ae"),
    ]
    assert all(each.sentence.endswith((".", "?")) for each in problems)


def test_it_runs_to_a_whole_result_and_its_progress_is_understood(bench: Bench) -> None:
    before = result.stamp(bench.trainer.traits.result_file(bench.folder))
    assert bench.trainer.result_problem(bench.folder, before) is not None
    bench.run()
    assert bench.trainer.result_problem(bench.folder, before) is None
    assert bench.trainer.traits == traits(bench.context)
    reader = bench.trainer.progress(bench.folder, bench.attempt())
    assert reader.read()
    assert reader.progress is not None
    assert reader.progress.step == reader.progress.total_steps
    # Only the steps of a training decide anything.
    assert (reader.steps is not None) == bench.trainer.traits.makes_checkpoints
    # A result of an earlier attempt does not count for this one.
    stamp = result.stamp(bench.trainer.traits.result_file(bench.folder))
    assert bench.trainer.result_problem(bench.folder, stamp) is not None


def test_outputs_are_reported_with_their_place_in_the_training(bench: Bench) -> None:
    assert [made.kind for made in bench.trainer.outputs(bench.context, bench.folder)] in ([], [FileKind.RESULT])
    bench.run()
    made = {output.name: output for output in bench.trainer.outputs(bench.context, bench.folder)}
    if not bench.trainer.traits.makes_checkpoints:
        assert list(made) == ["result.json", "made.txt"]
        return
    loras = {name: (one.epoch, one.step) for name, one in made.items() if one.kind is FileKind.LORA}
    assert loras == {
        f"{NAME}-000001.safetensors": (1, 8),
        f"{NAME}-000002.safetensors": (2, 16),
        f"{NAME}-000003.safetensors": (3, 24),
        f"{NAME}.safetensors": (4, STEPS),
    }


def test_promise_5_it_resumes_from_what_it_saved_and_never_from_what_is_torn(bench: Bench) -> None:
    assert choose(bench.checkpoints()) == Begin()
    bench.run()
    found = bench.checkpoints()
    if not bench.trainer.traits.makes_checkpoints:
        assert found == []
        return
    assert all(facts.complete for facts in found)
    final = newest(found)
    assert final is not None
    assert final.final
    # As after a kill before the end, so that the trainer's treatment of a final state does not matter.
    shutil.rmtree(bench.folder.path / final.name)
    bench.trainer.traits.result_file(bench.folder).unlink()
    last = newest(bench.checkpoints())
    assert last is not None
    (bench.folder.path / last.name / "optimizer.bin").write_bytes(b"PK\x03\x04 half")
    where = choose(bench.checkpoints())
    assert isinstance(where, GoOn)
    assert where.checkpoint.name not in (final.name, last.name)
    report = bench.check(bench.question(where.checkpoint.name))
    assert report.problems == ()
    assert report.verdict in (CheckpointVerdict.FITS, None)
    if report.verdict is CheckpointVerdict.FITS:
        # With two processes an epoch has fewer steps, so the answer depends on their number.
        together = bench.question(where.checkpoint.name, gpu_count=2)
        assert bench.check(together).verdict is CheckpointVerdict.MISFIT
    shutil.rmtree(bench.folder.path / last.name)  # the daemon would set it aside
    size = bench.folder.log.stat().st_size
    bench.run(where.checkpoint.name)
    attempt = msgspec.structs.replace(bench.attempt(where.checkpoint.step or 0), log_offset=size)
    reader = bench.trainer.progress(bench.folder, attempt)
    reader.read()
    assert reader.progress is not None
    assert reader.progress.step == reader.progress.total_steps == STEPS
    assert bench.trainer.result_problem(bench.folder, None) is None


def test_it_handles_the_signals_that_it_says_and_saves_on_sigterm_only_then(bench: Bench) -> None:
    if bench.trainer.traits.makes_checkpoints:
        bench.context = msgspec.structs.replace(bench.context, epochs=1000)
    process = bench.start()
    try:
        reader = bench.trainer.progress(bench.folder, bench.attempt())

        def trains() -> bool:
            reader.read()
            return reader.progress is not None and reader.progress.phase is Phase.TRAINING

        until(trains, what="its first step")
        facts = processes.stat(process.pid)
        assert facts is not None
        asked = (signal.SIGTERM, signal.SIGQUIT, *REQUESTS)
        handled = {number for number in asked if processes.catches(facts.process, number)}
        assert handled == set(asked) & bench.trainer.signals
        process.terminate()
        process.wait(timeout=DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait(timeout=DEADLINE_SECONDS)
    if signal.SIGTERM in bench.trainer.signals:
        assert isinstance(choose(bench.checkpoints()), GoOn)


def test_what_a_kill_leaves_behind_is_found(bench: Bench) -> None:
    assert list(bench.trainer.leftovers(bench.folder)) == []
    assert list(bench.trainer.mend(bench.folder)) == []
    if bench.trainer.traits.makes_checkpoints:
        (bench.folder.path / f"{NAME}-state.tmp").mkdir()
        (bench.folder.dataset / "cross-0_flux_te.npz").write_bytes(b"PK\x03\x04 half")
        for part in ("1", "2"):
            (bench.folder.dataset / part).mkdir()
        (bench.folder.dataset / "2" / "a_flux_te.npz").write_bytes(b"PK\x03\x04 half")
        assert [path.name for path in bench.trainer.leftovers(bench.folder)] == [f"{NAME}-state.tmp"]
        assert list(bench.trainer.mend(bench.folder)) == [
            "the damaged cache cross-0_flux_te.npz was removed",
            "the damaged cache a_flux_te.npz was removed",
        ]
    assert bench.trainer.kept_checkpoints(bench.context) >= 1


def test_a_trainer_that_writes_into_caches_gets_none_that_other_jobs_have(bench: Bench, tmp_path: Path) -> None:
    if not bench.trainer.traits.makes_checkpoints:
        return
    (bench.folder.dataset / "1").mkdir()
    cache = bench.folder.dataset / "1" / "a_flux.npz"
    with zipfile.ZipFile(cache, "w") as archive:
        archive.writestr("latents.npy", b"x")
    (shared := tmp_path / "shared.npz").hardlink_to(cache)
    shared.chmod(0o444)
    assert list(bench.trainer.mend(bench.folder)) == []
    assert cache.samefile(shared) == bench.trainer.only_reads_pictures


def test_no_option_of_a_training_is_without_effect(bench: Bench) -> None:
    """Keys of the generated dataset.toml give way to their flags. The trainer itself reports flags without effect."""
    if bench.trainer.name != "FluxGym's trainer":
        return
    options = {
        **(bench.context.trainer_options or {}),
        "train_batch_size": ["2"],
        "keep_tokens": ["3"],
        "caption_extension": [".txt"],
        "shuffle_caption": [],
        "cache_text_encoder_outputs": ["false"],
        "cache_text_encoder_outputs_to_disk": ["false"],
    }
    report = bench.check(bench.question(trainer_options=options))
    assert report.problems == ()
    assert [each.sentence for each in report.warnings if "no effect" in each.sentence] == []
