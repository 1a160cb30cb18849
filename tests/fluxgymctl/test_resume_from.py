# SPDX-License-Identifier: Apache-2.0
"""`submit --resume-from` and `--more-epochs`, with a real daemon."""

from pathlib import Path

import pytest

from fluxgym.protocol.messages import ResumeFrom
from fluxgymctl.settings import origin, spec
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", ResumeFrom(job="cat")),
        ("cat:cat-000004-state", ResumeFrom(job="cat", checkpoint="cat-000004-state")),
    ],
)
def test_a_checkpoint_is_written_as_job_and_name(text: str, expected: ResumeFrom, tmp_path: Path) -> None:
    assert origin.from_text(text) == expected
    file = tmp_path / "cat.toml"
    file.write_text(f'resume_from = "{text}"\n')
    assert spec.read(file)["resume_from"] == expected


@pytest.mark.parametrize("words", [["--resume-from", ":x"], ["--resume-from", "cat:"], ["--more-epochs", "4"]])
def test_a_text_that_names_no_checkpoint_is_refused(words: list[str]) -> None:
    done = ctl("submit", "new", *words, socket=Path("/nowhere"))
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("flag", ["--resume-from", "--like"])
def test_more_epochs_of_a_finished_job_are_planned_and_remembered(trained: RunningDaemon, flag: str) -> None:
    epochs = trained.job("trained").context.epochs or 0
    both = ctl("submit", "new", flag, "trained", "--more-epochs", "1", "--epochs", "3", socket=trained.socket)
    assert (both.returncode, "cannot both be given" in both.stderr) == (2, True)
    planned = ctl("submit", "new", flag, "trained", "--more-epochs", "1", "--plan", socket=trained.socket)
    assert planned.returncode == 0, planned.stderr
    done = ctl("submit", "new", flag, "trained", "--more-epochs", "1", "--hold", socket=trained.socket)
    assert (done.returncode, done.stdout) == (0, "new\n"), done.stderr
    job = trained.job("new").context
    assert (job.epochs, job.resume_from) == (epochs + 1, ResumeFrom(job="trained", checkpoint="trained-state"))
    assert "It starts from the checkpoint trained-state of the job trained" in (
        ctl("history", "new", socket=trained.socket).stdout
    )
    trained.remove("new")
