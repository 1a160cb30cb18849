# SPDX-License-Identifier: Apache-2.0
"""Tests of questions to a trainer's program: an answer is kept while nothing changes, and no question delays anything
else."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fluxgymd.trainers import asking
from fluxgymd.trainers.answer import CheckAnswer
from fluxgymd.trainers.asking import Inquiry
from tests.trainers.talking import TalkingTrainer, problem

PYTHON = Path(sys.executable)
FOREIGN = """
import argparse, os, sys
print("loading libraries")
open({asked!r}, "a").write("x")
parser = argparse.ArgumentParser()
parser.add_argument("--{flag}", type=int)
print(parser.parse_args())
"""
FILES = {"dataset.toml": b"resolution = 64\n", "sample_prompts.txt": b"a cat\n"}
LONG_AGO = time.time() - 3600


@pytest.fixture
def talking(tmp_path: Path) -> TalkingTrainer:
    return TalkingTrainer(tmp_path / "trainer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a job that does not exist yet."""
    (tmp_path / "outputs").mkdir()
    return tmp_path / "outputs" / "my-lora"


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return tmp_path / "asked"


@pytest.fixture
def foreign(tmp_path: Path, asked: Path) -> Path:
    script = tmp_path / "trainer.py"
    script.write_text(FOREIGN.format(asked=str(asked), flag="rank"))
    return script


async def question(inquiry: Inquiry, folder: Path, *words: str) -> CheckAnswer | None:
    line = ["--dataset_config", str(folder / "dataset.toml"), *words]
    return await inquiry.ask(line, files=FILES, folder=folder, name=folder.name)


def ask(inquiry: Inquiry, folder: Path, *words: str) -> CheckAnswer | None:
    return asyncio.run(question(inquiry, folder, *words))


def sentences(answer: CheckAnswer | None) -> Sequence[str]:
    assert answer is not None
    return [each.sentence for each in answer.problems]


def old(*files: Path) -> None:
    """Sets the files' times to long ago, so that none counts as changed during a question."""
    for file in files:
        os.utime(file, (LONG_AGO, LONG_AGO))


def test_the_trainer_is_asked_with_the_files_that_the_job_would_read(talking: TalkingTrainer, folder: Path) -> None:
    talking.answer(problems=[problem("DATASET_CONFIG, line 1: there is no picture.", path="DATASET_CONFIG")])
    answer = ask(Inquiry(PYTHON, talking.script), folder, "--seed", "1")
    (asked,) = talking.asked
    assert asked["argv"][2:] == ["--seed", "1", "--check_job"]
    assert asked["dataset"] == "resolution = 64\n"
    # A relative path means the same as for the job itself, and nothing is left behind.
    assert Path(asked["cwd"]).parent == folder.parent
    assert list(folder.parent.iterdir()) == []
    # The answer names the job's file, not the one that was written for the question.
    assert answer is not None
    assert answer.problems[0].sentence == f"{folder}/dataset.toml, line 1: there is no picture."
    assert answer.problems[0].path == f"{folder}/dataset.toml"


def test_for_an_existing_job_the_trainer_is_asked_in_its_folder(talking: TalkingTrainer, folder: Path) -> None:
    folder.mkdir()
    ask(Inquiry(PYTHON, talking.script), folder)
    assert talking.asked[0]["cwd"] == str(folder)
    assert list(folder.iterdir()) == []


def test_an_answer_without_problems_is_kept_until_something_changes(
    talking: TalkingTrainer, folder: Path, tmp_path: Path
) -> None:
    picture, missing = tmp_path / "picture.png", tmp_path / "missing.png"
    picture.touch()
    talking.answer(files=[str(picture), str(missing)])
    old(picture, talking.script)
    inquiry = Inquiry(PYTHON, talking.script)

    async def scenario() -> list[int]:
        counts = []
        for change in (None, None, lambda: picture.write_text("x"), lambda: old(picture), None, missing.touch):
            if change is not None:
                change()
            await question(inquiry, folder)
            counts.append(len(talking.asked))
        return counts

    # The trainer is asked again after a picture that may have changed during the question, and after a new one.
    assert asyncio.run(scenario()) == [1, 1, 2, 3, 3, 4]


def test_another_command_line_or_other_files_are_another_question(talking: TalkingTrainer, folder: Path) -> None:
    old(talking.script)
    inquiry = Inquiry(PYTHON, talking.script)

    async def scenario() -> None:
        for words in (["--seed", "1"], ["--seed", "2"], ["--seed", "1"]):
            await question(inquiry, folder, *words)
        line = ["--dataset_config", str(folder / "dataset.toml"), "--seed", "1"]
        await inquiry.ask(line, files={**FILES, "dataset.toml": b"resolution = 128\n"}, folder=folder, name="my-lora")

    asyncio.run(scenario())
    assert len(talking.asked) == 3


def test_an_answer_with_problems_is_asked_for_again(talking: TalkingTrainer, folder: Path) -> None:
    old(talking.script)
    talking.problem("The trainer is not in the mood.")
    inquiry = Inquiry(PYTHON, talking.script)

    async def scenario() -> Sequence[str]:
        refused = sentences(await question(inquiry, folder))
        talking.answer()
        assert sentences(await question(inquiry, folder)) == []
        return refused

    assert asyncio.run(scenario()) == ["The trainer is not in the mood."]
    assert len(talking.asked) == 2


def test_after_a_change_of_the_trainer_it_is_asked_again(talking: TalkingTrainer, folder: Path) -> None:
    old(talking.script)
    inquiry = Inquiry(PYTHON, talking.script)

    async def scenario() -> None:
        await question(inquiry, folder)
        module = talking.path / "library" / "flux" / "new.py"
        module.parent.mkdir(parents=True)
        module.touch()
        old(module)
        for _ in range(2):
            await question(inquiry, folder)

    asyncio.run(scenario())
    assert len(talking.asked) == 2


def test_identical_questions_at_the_same_time_share_an_answer(talking: TalkingTrainer, folder: Path) -> None:
    inquiry = Inquiry(PYTHON, talking.script)

    async def scenario() -> list[CheckAnswer | None]:
        return await asyncio.gather(*(question(inquiry, folder) for _ in range(8)))

    answers = asyncio.run(scenario())
    assert all(answer == answers[0] for answer in answers)
    assert len(talking.asked) == 1


@pytest.mark.parametrize(
    "script",
    [None, "raise SystemExit(1)", "import no_such_module", "import os; os.abort()", "print('[]')", "print('--flag')"],
)
def test_a_program_that_does_not_say_which_flags_it_has_has_none(
    tmp_path: Path, folder: Path, script: str | None
) -> None:
    path = tmp_path / "trainer.py"
    if script is not None:
        path.write_text(script)
    inquiry = Inquiry(PYTHON, path)
    assert asyncio.run(inquiry.flags()) == {}
    assert ask(inquiry, folder) is None


def test_a_missing_python_gives_no_answer(talking: TalkingTrainer, folder: Path, tmp_path: Path) -> None:
    assert ask(Inquiry(tmp_path / "python", talking.script), folder) is None


@pytest.mark.parametrize("ending", ["sys.exit(1)", "raise RuntimeError('x')", "print('[]')", "print('{}')", "pass"])
def test_a_check_that_breaks_gives_no_answer(talking: TalkingTrainer, folder: Path, ending: str) -> None:
    talking.script.write_text(talking.script.read_text().replace("print(json.dumps(answer)", f"{ending}\n#"))
    assert ask(Inquiry(PYTHON, talking.script), folder) is None
    assert len(talking.asked) == 1
    assert list(folder.parent.iterdir()) == []


def test_promise_10_a_check_that_takes_more_memory_than_its_state_could_gives_no_answer(
    talking: TalkingTrainer, folder: Path
) -> None:
    fill = f"filled = bytearray({asking.MEMORY_BYTES})"
    talking.script.write_text(talking.script.read_text().replace("answers =", f"{fill}\nanswers ="))
    assert ask(Inquiry(PYTHON, talking.script), folder) is None
    # The size of a state, which the check maps into memory, is added to its limit.
    state = folder / "my-lora-000004-state"
    state.mkdir(parents=True)
    with (state / "optimizer.bin").open("wb") as file:
        file.truncate(1 << 30)
    assert ask(Inquiry(PYTHON, talking.script), folder, "--resume", str(state)) is not None


@pytest.mark.parametrize("flag", ["--resume", "--network_weights"])
def test_promise_10_no_file_lets_a_check_use_all_memory(folder: Path, flag: str) -> None:
    state = folder / "my-lora-000004-state"
    state.mkdir(parents=True)
    (state / "model.safetensors").write_bytes(bytes(1000))
    assert asking._mapped_bytes([flag, str(state)], folder) == 1000
    with (state / "optimizer.bin").open("wb") as file:
        file.truncate(1 << 40)
    assert asking._mapped_bytes([flag, str(state)], folder) == asking.MAPPED_BYTES


def test_promise_10_a_check_with_endless_output_gives_no_answer(talking: TalkingTrainer, folder: Path) -> None:
    talking.script.write_text(
        talking.script.read_text().replace("print(json.dumps(answer)", "while True: print('x' * 1000)\n#")
    )
    assert ask(Inquiry(PYTHON, talking.script), folder) is None


def test_a_read_only_parent_folder_gives_no_answer(talking: TalkingTrainer, tmp_path: Path) -> None:
    assert ask(Inquiry(PYTHON, talking.script), tmp_path / "nowhere" / "my-lora") is None


def test_a_trainer_that_hangs_gives_no_answer(
    tmp_path: Path, folder: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "trainer.py"
    script.write_text(f"import os, signal\nopen({str(asked)!r}, 'w').write(str(os.getpid()))\nsignal.pause()\n")
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 2.0)
    began = time.monotonic()
    assert ask(Inquiry(PYTHON, script), folder) is None
    assert time.monotonic() - began >= 2.0
    assert asked.exists()


def test_a_question_has_full_priority(tmp_path: Path, folder: Path, asked: Path) -> None:
    script = tmp_path / "trainer.py"
    script.write_text(f"import os\nopen({str(asked)!r}, 'w').write(str(os.nice(0)))\n")
    assert ask(Inquiry(PYTHON, script), folder) is None
    assert asked.read_text() == str(os.nice(0))


def test_the_flags_are_kept_until_a_file_of_the_trainer_changes(foreign: Path, asked: Path) -> None:
    inquiry = Inquiry(PYTHON, foreign)
    assert sorted(asyncio.run(inquiry.flags())) == ["help", "rank"]
    assert sorted(asyncio.run(inquiry.flags())) == ["help", "rank"]
    foreign.write_text(FOREIGN.format(asked=str(asked), flag="rate"))
    assert sorted(asyncio.run(inquiry.flags())) == ["help", "rate"]
    (foreign.parent / "library").mkdir()
    (foreign.parent / "library" / "options.py").write_text("")
    asyncio.run(inquiry.flags())
    assert asked.read_text() == "xxx"


def test_later_callers_wait_for_the_same_answer_about_the_flags(foreign: Path, asked: Path) -> None:
    inquiry = Inquiry(PYTHON, foreign)

    async def scenario() -> None:
        await asyncio.gather(*(inquiry.flags() for _ in range(4)))

    asyncio.run(scenario())
    assert asked.read_text() == "x"


def test_the_event_loop_continues_while_the_trainer_thinks(
    talking: TalkingTrainer, folder: Path, tmp_path: Path
) -> None:
    """The trainer continues only after another task on the loop has run."""
    here, turn = tmp_path / "here", tmp_path / "turn"
    os.mkfifo(here)
    os.mkfifo(turn)
    # Opened for reading and writing, so that neither side waits for the other to open.
    reader, writer = (os.open(pipe, os.O_RDWR) for pipe in (here, turn))
    pause = f"open({str(here)!r}, 'w').write('x')\nopen({str(turn)!r}).readline()\n"
    talking.script.write_text(talking.script.read_text().replace("answers =", f"{pause}answers ="))

    async def scenario() -> CheckAnswer | None:
        thinking = asyncio.create_task(question(Inquiry(PYTHON, talking.script), folder))
        async with asyncio.timeout(60):
            await asyncio.to_thread(os.read, reader, 1)
            os.write(writer, b"\n")
            return await thinking

    answer = asyncio.run(scenario())
    os.close(reader)
    os.close(writer)
    assert sentences(answer) == []


def test_no_secret_reaches_the_trainer(
    talking: TalkingTrainer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    dump = (
        'print(json.dumps({"problems": [{"kind": "x", "sentence": json.dumps(dict(os.environ))}], "warnings": []}))'
    )
    talking.script.write_text(talking.script.read_text().replace("print(json.dumps(answer)", f"{dump}\n#"))
    (environment,) = map(json.loads, sentences(ask(Inquiry(PYTHON, talking.script), folder)))
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert "s3cret" not in environment.values()
