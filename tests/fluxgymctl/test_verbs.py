# SPDX-License-Identifier: Apache-2.0
"""The verbs on a job that was really trained."""

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.machine_methods import InfoReply
from fluxgym.protocol.messages import Checkpoint, Job, State
from fluxgym.protocol.methods import LogsReply, WatchReply
from fluxgym.protocol.output_messages import FileKind, JobFile
from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.program import ctl, on_terminal, rows
from tests.harness.log_lines import last_states


def test_list_shows_each_job_on_one_line(trained: RunningDaemon) -> None:
    done = ctl("list", socket=trained.socket)
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["NAME", "STATE", "PLACE", "PRIORITY", "PROGRESS", "GPU", "AGE", "WHY"]
    (line,) = [line for line in lines if line.startswith("trained ")]
    assert re.match(r"trained +completed +- +- +36/36 100% +- +\d+ (s|min) +\S", line)


def test_list_as_json_prints_one_job_per_line(trained: RunningDaemon) -> None:
    jobs = [msgspec.convert(row, Job) for row in rows(ctl("--json", "list", socket=trained.socket))]
    job = next(job for job in jobs if job.context.name == "trained")
    assert job.runtime.state is State.COMPLETED
    assert (job.context.epochs, job.context.repeats) == (3, 1)


def test_list_is_newest_first_and_has_a_limit(trained: RunningDaemon, spec: Path) -> None:
    newest = trained.jobs()[0].context.name
    assert [row["context"]["name"] for row in rows(ctl("list", "--limit", "1", "--json", socket=trained.socket))] == [
        newest
    ]


def test_what_list_shows_can_be_submitted_again(trained: RunningDaemon) -> None:
    context = trained.job("trained").context
    again = trained.submit(msgspec.structs.replace(context, name="again")).job
    assert msgspec.structs.replace(again.context, name="trained") == context
    assert ctl("stop", "again", socket=trained.socket).returncode == 0
    assert ctl("wait", "again", socket=trained.socket).returncode == 11
    assert ctl("rm", "again", socket=trained.socket).returncode == 0


def test_status_shows_everything_for_people(trained: RunningDaemon) -> None:
    done = ctl("status", "trained", socket=trained.socket)
    assert (done.returncode, done.stderr) == (0, "")
    facts = {label: value.strip() for label, _, value in (line.partition(":") for line in done.stdout.splitlines())}
    home = trained.home / "outputs/trained"
    assert (facts["Name"], facts["State"], facts["Steps lost"]) == ("trained", "completed", "0")
    assert (facts["Step"], facts["Epoch"]) == ("36/36 100%", "3 of 3")
    assert (facts["Attempt"], facts["Exit"]) == ("1", "exit status 0")
    assert re.fullmatch(r"fluxgym-trained-[0-9a-f]{8}\.001 \(process\)", facts["Unit"])
    assert Path(facts["LoRA"]).is_file()
    assert Path(facts["Log"]).is_file()
    assert (facts["Home"], facts["LoRA"]) == (str(home), str(home / "trained.safetensors"))


def test_status_as_json_is_the_job(trained: RunningDaemon) -> None:
    (row,) = rows(ctl("status", "trained", "--json", socket=trained.socket))
    assert msgspec.convert(row, Job) == trained.job("trained")


def test_logs_print_the_last_state_of_each_line(trained: RunningDaemon) -> None:
    log = (trained.home / "outputs/trained/training.log").read_bytes().decode()
    done = ctl("logs", "trained", socket=trained.socket)
    assert done.stdout == last_states(log)
    assert "saving checkpoint" in log
    assert log.count("\r") > 3


def test_logs_end_at_a_limit(trained: RunningDaemon) -> None:
    whole = ctl("logs", "trained", socket=trained.socket).stdout
    done = ctl("logs", "trained", "--limit", "50", socket=trained.socket)
    assert (done.stdout, done.stderr) == (whole[:50], "")
    both = ctl("logs", "trained", "--limit", "50", "-f", socket=trained.socket)
    assert (both.returncode, both.stderr) == (
        2,
        "fluxgymctl: --limit and --follow cannot be combined; give one of them.\n",
    )


def test_a_log_can_be_searched(trained: RunningDaemon) -> None:
    log = ctl("logs", "trained", socket=trained.socket).stdout.splitlines()
    number = next(number for number, line in enumerate(log, 1) if "saving checkpoint" in line)
    done = ctl("search", "trained", "SAVING checkpoint", socket=trained.socket)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"{number}: {log[number - 1]}")
    (row, *_) = rows(ctl("search", "trained", "^saving c", "--regex", "--json", socket=trained.socket))
    assert (row["line"], row["text"]) == (number, log[number - 1])
    none = ctl("search", "trained", "xyzzy", socket=trained.socket)
    assert (none.returncode, none.stderr) == (1, "fluxgymctl: The log of trained does not contain xyzzy.\n")
    bad = ctl("search", "trained", "a(", "--regex", socket=trained.socket)
    assert (bad.returncode, bad.stderr) == (
        2,
        "fluxgymctl: a( is not a valid RE2 regular expression: missing ): a(.\n",
    )


def test_metrics_are_shown_as_rows(trained: RunningDaemon) -> None:
    header, *lines = ctl("metrics", "trained", "--points", "12", socket=trained.socket).stdout.splitlines()
    assert header.split() == ["ATTEMPT", "STEP", "EPOCH", "LOSS", "MEAN", "VALIDATION", "RATE", "SPEED", "MEMORY"]
    assert len(lines) <= 12
    last = lines[-1].split()
    assert last[:3] == ["1", "36", "3"]
    assert re.fullmatch(r"\d\.\d{4}", last[3])
    (row,) = rows(ctl("metrics", "trained", "--all", "--json", socket=trained.socket))
    assert row["metrics"]["step"][-1] == 36
    assert set(row["metrics"]["attempt"]) == {1}


def test_logs_can_begin_with_the_last_lines(trained: RunningDaemon) -> None:
    log = (trained.home / "outputs/trained/training.log").read_bytes()
    pieces = [
        msgspec.convert(row, LogsReply)
        for row in rows(ctl("logs", "trained", "-n", "2", "--json", socket=trained.socket))
    ]
    text = "".join(piece.text for piece in pieces)
    assert text.encode() == b"".join(log.splitlines(keepends=True)[-2:]) or text.count("\n") == 2
    assert log.endswith(text.encode())
    assert pieces[-1].offset == len(log)


def test_logs_of_an_ended_job_can_be_followed_to_their_end(trained: RunningDaemon) -> None:
    assert (
        ctl("logs", "trained", "-f", socket=trained.socket).stdout
        == ctl("logs", "trained", socket=trained.socket).stdout
    )


def test_checkpoints_are_shown_with_their_condition(trained: RunningDaemon) -> None:
    done = ctl("checkpoints", "trained", socket=trained.socket)
    header, newest, *_ = done.stdout.splitlines()
    assert header.split() == ["NAME", "EPOCH", "STEP", "SIZE", "AGE", "CONDITION"]
    assert re.match(r"trained-state +3 +36 +[\d.]+ [KM]iB +\d+ (s|min) +complete", newest)
    found = [
        msgspec.convert(row, Checkpoint)
        for row in rows(ctl("checkpoints", "trained", "--json", socket=trained.socket))
    ]
    assert [Path(checkpoint.path).is_dir() for checkpoint in found] == [True] * len(found)
    assert found[0].name == "trained-state"


def test_files_are_shown_with_their_kind(trained: RunningDaemon) -> None:
    found = [msgspec.convert(row, JobFile) for row in rows(ctl("files", "trained", "--json", socket=trained.socket))]
    kinds = {file.name: (file.kind, file.epoch, file.step) for file in found}
    assert kinds["trained.safetensors"] == (FileKind.LORA, 3, 36)
    assert kinds["trained-state"] == (FileKind.STATE, 3, 36)
    assert kinds["training.log"] == (FileKind.LOG, None, None)
    assert {FileKind.METRICS, FileKind.SETTINGS, FileKind.HISTORY} <= {file.kind for file in found}
    assert all(Path(file.path).exists() for file in found)
    header, *lines = ctl("files", "trained", "--kind", "lora", socket=trained.socket).stdout.splitlines()
    assert header.split() == ["KIND", "EPOCH", "STEP", "SIZE", "AGE", "PATH"]
    assert re.match(r"lora +3 +36 +[\d.]+ [KM]iB +\d+ (s|min) +/\S+/trained\.safetensors$", lines[0])
    none = ctl("files", "trained", "--kind", "evidence", socket=trained.socket)
    assert (none.stdout, none.stderr) == ("", "fluxgymctl: trained has no files of this kind.\n")


def test_samples_are_shown_with_their_prompts(trained: RunningDaemon) -> None:
    assert ctl("samples", "trained", socket=trained.socket).stderr == "fluxgymctl: trained has no samples yet.\n"
    folder = trained.home / "outputs/trained/sample"
    folder.mkdir()
    try:
        (folder / "trained_e000001_00_20261123131507_7.png").write_bytes(b"png")
        (row,) = rows(ctl("samples", "trained", "--json", socket=trained.socket))
        assert (row["epoch"], row["step"], row["number"], row["seed"]) == (1, 12, 0, 7)
        header, line = ctl("samples", "trained", socket=trained.socket).stdout.splitlines()
        assert header.split() == ["EPOCH", "STEP", "PROMPT", "SEED", "PATH", "TEXT"]
        assert line.split() == ["1", "12", "0", "7", row["path"], "-"]
    finally:
        shutil.rmtree(folder)


def test_watching_an_ended_job_shows_the_end_and_exits_with_its_status(trained: RunningDaemon) -> None:
    done = ctl("watch", "trained", socket=trained.socket)
    result = trained.home / "outputs/trained/trained.safetensors"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"trained completed: {result}\n", "")


def test_wait_as_json_ends_with_the_job(trained: RunningDaemon) -> None:
    (row,) = rows(ctl("wait", "trained", "--json", socket=trained.socket))
    assert row["runtime"]["state"] == "completed"


def test_gpus_says_why_there_are_none_or_shows_them(trained: RunningDaemon) -> None:
    done = ctl("gpus", socket=trained.socket)
    assert done.returncode == 0
    if done.stdout:
        assert done.stdout.splitlines()[0].split()[:2] == ["GPU", "NAME"]
    else:
        assert "Trainings run on the CPU, one at a time." in done.stderr


def test_a_gpu_that_is_not_quarantined_is_not_cleared(trained: RunningDaemon) -> None:
    done = ctl("gpus", "--clear", "7", socket=trained.socket)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "fluxgymctl: GPU 7 is not quarantined; no GPU is.\n"


def test_daemon_shows_what_runs_the_jobs_and_why(trained: RunningDaemon) -> None:
    done = ctl("daemon", socket=trained.socket)
    facts = {label: value.strip() for label, _, value in (line.partition(":") for line in done.stdout.splitlines())}
    assert facts["Supervisor"].startswith("process (")
    assert facts["Socket"] == str(trained.socket)
    states = Counter(str(job.runtime.state) for job in trained.jobs())
    assert sorted(facts["Jobs"].split(", ")) == sorted(f"{count} {state}" for state, count in states.items())
    (row,) = rows(ctl("daemon", "--json", socket=trained.socket))
    shown, now = msgspec.convert(row, InfoReply), trained.info()
    assert msgspec.structs.replace(shown, loop_late=now.loop_late) == now
    assert re.fullmatch(r"up to \d+ ms recently", facts["Lateness"])


def test_watch_as_json_prints_the_replies(trained: RunningDaemon) -> None:
    (row,) = rows(ctl("watch", "trained", "--json", socket=trained.socket))
    reply = msgspec.convert(row, WatchReply)
    assert reply.job is not None
    assert reply.revision.number >= 0


def outputs(daemon: RunningDaemon) -> set[str]:
    """The names of everything in the folder of the jobs, including incomplete jobs."""
    return set(os.listdir(daemon.home / "outputs"))


BAD_SUBMITS = [
    (["a/b"], 2, "'a-b' would be valid"),
    (["trained"], 4, "A job named trained already exists"),
    (["new", "--dataset", "./empty"], 2, "empty"),
    (["new", "--dataset", "./corrupt"], 2, "broken.png"),
    (["new", "--dataset", "./nowhere"], 2, "nowhere"),
    (["new", "--transformer", "missing.safetensors"], 2, "missing.safetensors"),
    (["new", "-o", "highvran"], 2, "did you mean --highvram?"),
    (["new", "-o", "resume=x"], 2, "use `fluxgymctl resume`"),
    (["new", "--epochs", "0"], 2, "epochs is 0, but must be from 1"),
    (["new", "--learning-rate", "-1"], 2, "learning_rate is -1.0, but must be more than 0"),
    (["new", "--sample-every-epochs", "1"], 2, "sample_prompts is empty"),
]


@pytest.mark.parametrize(
    ("words", "status", "says"), BAD_SUBMITS, ids=lambda value: "_".join(value) if isinstance(value, list) else ""
)
def test_a_bad_submit_gets_one_sentence_and_leaves_nothing(
    trained: RunningDaemon, spec: Path, tmp_path: Path, words: list[str], status: int, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(spec.parent / "pictures", tmp_path / "corrupt")
    (tmp_path / "corrupt/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    before = outputs(trained)
    done = ctl("submit", *words, "--file", str(spec), socket=trained.socket, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert outputs(trained) == before


NAMED = [
    "status",
    "history",
    "logs",
    "watch",
    "wait",
    "stop",
    "resume",
    "checkpoints",
    "prune",
    "rm",
    "restore",
    "hold",
    "release",
    "move",
]


@pytest.mark.parametrize("verb", NAMED)
def test_each_verb_refuses_a_job_that_does_not_exist(trained: RunningDaemon, verb: str) -> None:
    done = ctl(verb, "nobody", socket=trained.socket)
    assert (done.returncode, done.stdout) == (3, "")
    assert "nobody" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("verb", "status"), [("stop", 4), ("resume", 4)])
def test_a_verb_that_the_state_does_not_allow_is_refused(trained: RunningDaemon, verb: str, status: int) -> None:
    done = ctl(verb, "trained", socket=trained.socket)
    assert (done.returncode, done.stdout) == (status, "")
    assert "trained" in done.stderr


def test_a_refusal_for_one_job_does_not_affect_the_others(trained: RunningDaemon, spec: Path) -> None:
    for name in ("one", "two"):
        assert ctl("submit", name, "--file", str(spec), "--epochs", "500", socket=trained.socket).returncode == 0
    done = ctl("stop", "one", "nobody", "two", socket=trained.socket)
    assert (done.returncode, done.stdout) == (3, "")
    assert ctl("wait", "one", "two", socket=trained.socket).returncode == 11
    assert ctl("rm", "one", "two", socket=trained.socket).returncode == 0
    assert {"one", "two"} & outputs(trained) == set()


def test_rm_now_asks_for_confirmation_and_follows_the_answer(trained: RunningDaemon, spec: Path) -> None:
    assert ctl("submit", "doomed", "--file", str(spec), socket=trained.socket).returncode == 0
    ctl("stop", "doomed", socket=trained.socket)
    ctl("wait", "doomed", socket=trained.socket)
    status, seen = on_terminal(["rm", "--now", "doomed"], socket=trained.socket, answer=b"n\n")
    assert (status, "doomed" in outputs(trained)) == (0, True)
    assert "Delete doomed" in seen
    status, seen = on_terminal(["rm", "--now", "doomed"], socket=trained.socket, answer=b"\x04")
    assert (status, "doomed" in outputs(trained)) == (130, True)
    status, seen = on_terminal(["rm", "--now", "doomed"], socket=trained.socket, answer=b"y\n")
    assert (status, "doomed" in outputs(trained)) == (0, False)


def test_prune_deletes_the_older_checkpoints_and_says_how_much_that_freed(trained: RunningDaemon, spec: Path) -> None:
    assert ctl("submit", "pruned", "--file", str(spec), socket=trained.socket).returncode == 0
    trained.wait("pruned", State.COMPLETED)
    states = rows(ctl("checkpoints", "pruned", "--json", socket=trained.socket))
    done = ctl("prune", "pruned", "--json", socket=trained.socket)
    (reply,) = rows(done)
    assert reply["removed"] == [state["name"] for state in states[:0:-1]]
    assert (reply["freed"] > 0) is (len(states) > 1)
    assert len(rows(ctl("checkpoints", "pruned", "--json", socket=trained.socket))) == 1
    done = ctl("prune", "--keep", "0", "pruned", socket=trained.socket)
    assert re.fullmatch(r"fluxgymctl: pruned: 1 checkpoint deleted, which freed [\d.]+ [KM]iB\.\n", done.stderr)
    done = ctl("prune", "--keep", "0", "pruned", socket=trained.socket)
    assert (done.returncode, done.stderr) == (0, "fluxgymctl: pruned has no checkpoints to delete.\n")
    done = ctl("prune", "--keep", "-1", "pruned", socket=trained.socket)
    assert done.returncode == 2
    assert done.stderr == "fluxgymctl: --keep is '-1', but must be a whole number of at least 0.\n"
    assert (trained.folder("pruned") / "pruned.safetensors").is_file()


def test_a_table_on_a_terminal_fits_it(trained: RunningDaemon) -> None:
    status, seen = on_terminal(["list"], socket=trained.socket, columns=30)
    assert status == 0
    assert "\x1b" not in seen
    assert max(len(line) for line in seen.splitlines()) == 30


def test_every_line_of_json_output_is_json(trained: RunningDaemon) -> None:
    for line in ctl("watch", "trained", "--json", socket=trained.socket).stdout.splitlines():
        assert json.loads(line)["job"]["context"]["name"] == "trained"
