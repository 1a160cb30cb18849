# SPDX-License-Identifier: Apache-2.0
"""What a trainer says of a command line, asked of the trainer itself: of ours, of another one with argparse, and of
programs that do not answer. sd-scripts itself: tests/interop, and what it told in test_flag_kinds.py."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import InvalidSetting
from fluxgymd.core.resume import Trainer
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import flags as asking
from fluxgymd.trainers import kohya
from fluxgymd.trainers.flags import KnownFlags
from tests.core.histories import CONTEXT

PYTHON = Path(sys.executable)
FOREIGN = """
import argparse, os, sys
print("loading libraries")
open({asked!r}, "a").write("x")
parser = argparse.ArgumentParser()
parser.add_argument("--{flag}", type=int)
print(parser.parse_args())
"""


def check(flags: KnownFlags, options: Mapping[str, Sequence[str]]) -> None:
    given = {name: list(words) for name, words in options.items()}
    context = msgspec.structs.replace(CONTEXT, trainer_options=given)
    line = kohya.arguments(context, JobFolder(Path("/outputs/my-lora")), None, trainer=Trainer.OURS)
    asyncio.run(flags.check(given, line, cwd=Path("/outputs/my-lora")))


def refused(flags: KnownFlags, options: Mapping[str, Sequence[str]]) -> InvalidSetting:
    with pytest.raises(InvalidSetting) as refusal:
        check(flags, options)
    return refusal.value


@pytest.fixture
def ours(checkout: Path) -> KnownFlags:
    # This environment has no torch, so what answers cannot have imported it.
    return KnownFlags(PYTHON, checkout / "sd-scripts" / kohya.SCRIPT)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return tmp_path / "asked"


@pytest.fixture
def foreign(tmp_path: Path, asked: Path) -> Path:
    script = tmp_path / "trainer.py"
    script.write_text(FOREIGN.format(asked=str(asked), flag="rank"))
    return script


@pytest.mark.parametrize(
    ("options", "setting", "sentence"),
    [
        ({"network_alfa": ["1"]}, "network_alfa", "unknown flag --network_alfa; did you mean --network_alpha?"),
        ({"full_bf16": []}, "full_bf16", "--full_bf16 is a flag of sd-scripts that this trainer does not have yet; "),
        ({"highvram": ["true"]}, "highvram", "--highvram is a switch, which takes no value; leave out 'true'."),
        ({"network_alpha": []}, "network_alpha", "argument --network_alpha: expected one argument."),
        ({"network_alpha": ["x"]}, "network_alpha", "argument --network_alpha: x is not a number from 0."),
        (
            {"lr_scheduler": ["cosin"]},
            "lr_scheduler",
            "argument --lr_scheduler: invalid choice: 'cosin' (choose",
        ),
        ({"network_args": ["train_block=all"]}, "network_args", "did you mean train_blocks?"),
        ({"network_module": ["networks.oft"]}, "network_module", "'networks.oft' is not one that this trainer has"),
        ({"optimizer_args": ["weight_decay=much"]}, "optimizer_args", "'much' is not a value of Python"),
        (
            {"lr_warmup_steps": ["5"]},
            "trainer_options",
            "has no warm-up; take constant_with_warmup",
        ),
        ({"ema_decay": ["-0.5"]}, "ema_decay", "-0.5 is not a number from 0 to less than 1."),
    ],
)
def test_our_trainer_says_itself_what_it_would_refuse(
    ours: KnownFlags, options: dict[str, list[str]], setting: str, sentence: str
) -> None:
    error = refused(ours, options)
    assert error.message.startswith("The trainer refuses this: ")
    assert sentence in error.message
    assert error.fields == {"setting": setting}


def test_our_trainer_takes_what_is_right(ours: KnownFlags) -> None:
    check(
        ours,
        {
            "highvram": [],
            "compile_dynamic": ["true"],
            "gradient_checkpointing": ["false"],
            "network_args": ["train_blocks=double", "single_dim=4"],
            "caption_prefix": ["-odd"],
        },
    )


def test_a_foreign_trainer_tells_the_kinds_of_its_flags(foreign: Path) -> None:
    flags = KnownFlags(PYTHON, foreign)
    check(flags, {"rank": ["4"]})
    assert refused(flags, {"rank": ["four"]}).message == "trainer_options.rank is 'four', but must be a whole number."
    assert "did you mean rank?" in refused(flags, {"ranks": ["4"]}).message


@pytest.mark.parametrize(
    "script",
    [None, "raise SystemExit(1)", "import no_such_module", "import os; os.abort()", "print('[]')", "print('--flag')"],
)
def test_where_the_trainer_does_not_answer_nothing_is_refused(tmp_path: Path, script: str | None) -> None:
    path = tmp_path / "trainer.py"
    if script is not None:
        path.write_text(script)
    check(KnownFlags(PYTHON, path), {"anything": []})


def test_a_python_that_is_not_there_refuses_nothing(checkout: Path, tmp_path: Path) -> None:
    check(KnownFlags(tmp_path / "python", checkout / "sd-scripts" / kohya.SCRIPT), {"anything": []})


@pytest.mark.parametrize("ending", ["raise SystemExit(1)", "sys.exit(2)", "raise RuntimeError('error: ours')"])
def test_a_check_that_breaks_refuses_nothing(tmp_path: Path, ending: str) -> None:
    """Only the sentence and the status of a wrong command line do."""
    script = tmp_path / "trainer.py"
    script.write_text(
        "import argparse, sys\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--check_command_line', action='store_true')\n"
        f"parser.parse_known_args()\n{ending}\n"
    )
    check(KnownFlags(PYTHON, script), {"anything": []})


def test_a_trainer_that_hangs_refuses_nothing(tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "trainer.py"
    script.write_text(f"import os, signal\nopen({str(asked)!r}, 'w').write(str(os.getpid()))\nsignal.pause()\n")
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 2.0)
    began = time.monotonic()
    check(KnownFlags(PYTHON, script), {"anything": []})
    assert time.monotonic() - began >= 2.0
    assert asked.exists()


def test_the_answer_is_kept_until_a_file_of_the_trainer_changes(foreign: Path, asked: Path) -> None:
    flags = KnownFlags(PYTHON, foreign)
    check(flags, {"rank": ["4"]})
    check(flags, {"rank": ["4"]})
    assert asked.read_text() == "x"
    foreign.write_text(FOREIGN.format(asked=str(asked), flag="rate"))
    assert "no flag --rank" in refused(flags, {"rank": ["4"]}).message
    assert asked.read_text() == "xx"
    library = foreign.parent / "library"
    library.mkdir()
    (library / "options.py").write_text("")
    check(flags, {"rate": ["4"]})
    assert asked.read_text() == "xxx"
    os.utime(library / "options.py", (1, 1))
    check(flags, {"rate": ["4"]})
    assert asked.read_text() == "xxxx"


def test_options_that_were_taken_are_not_asked_again_until_the_trainer_changes(tmp_path: Path, asked: Path) -> None:
    script = tmp_path / "trainer.py"
    words = f"""
import argparse, sys
parser = argparse.ArgumentParser()
parser.add_argument("--check_command_line", action="store_true")
parser.parse_known_args()
open({str(asked)!r}, "a").write("x")
if "bad" in sys.argv:
    print("error: --rank is bad", file=sys.stderr)
    sys.exit(2)
"""
    script.write_text(words)
    flags = KnownFlags(PYTHON, script)
    for options in ({"rank": ["4"]}, {"rank": ["4"], "text": []}, {"rank": ["4"]}):
        check(flags, options)
    other = JobFolder(Path("/outputs/other"))
    context = msgspec.structs.replace(CONTEXT, name="other", trainer_options={"rank": ["4"]})
    line = kohya.arguments(context, other, None, trainer=Trainer.OURS)
    asyncio.run(flags.check({"rank": ["4"]}, line, cwd=other.path))
    assert asked.read_text() == "xx"
    for _ in range(2):
        assert refused(flags, {"rank": ["bad"]}).message == "The trainer refuses this: --rank is bad."
    assert asked.read_text() == "xxxx"
    script.write_text(words + "#")
    check(flags, {"rank": ["4"]})
    assert asked.read_text() == "xxxxx"


def test_what_is_right_beside_one_job_s_settings_is_asked_again_beside_another_s(ours: KnownFlags) -> None:
    options: dict[str, list[str]] = {"sample_at_first": []}
    with_prompts = msgspec.structs.replace(CONTEXT, trainer_options=options, sample_prompts=["a house"])
    without = msgspec.structs.replace(with_prompts, sample_prompts=[], sample_every_steps=None)
    folder = JobFolder(Path("/outputs/my-lora"))
    lines = [kohya.arguments(each, folder, None, trainer=Trainer.OURS) for each in (with_prompts, without)]
    asyncio.run(ours.check(options, lines[0], cwd=folder.path))
    with pytest.raises(InvalidSetting, match="--sample_prompts does not say which"):
        asyncio.run(ours.check(options, lines[1], cwd=folder.path))


def test_who_comes_while_it_is_asked_waits_for_the_same_answer(foreign: Path, asked: Path) -> None:
    flags = KnownFlags(PYTHON, foreign)

    async def together() -> list[BaseException | None]:
        each = [flags.check({"rank": [word]}, [], cwd=foreign.parent) for word in ("1", "x", "2", "y")]
        return await asyncio.gather(*each, return_exceptions=True)

    assert [type(error) for error in asyncio.run(together())] == [type(None), InvalidSetting] * 2
    assert asked.read_text() == "x"


def test_the_event_loop_goes_on_while_the_trainer_thinks(foreign: Path, tmp_path: Path) -> None:
    """The trainer goes on only when somebody else on the loop has come to his turn."""
    here, turn = tmp_path / "here", tmp_path / "turn"
    os.mkfifo(here)
    os.mkfifo(turn)
    # Open both ways, so that no side waits for the other to open.
    reader, writer = (os.open(pipe, os.O_RDWR) for pipe in (here, turn))
    foreign.write_text(f"open({str(here)!r}, 'w').write('x')\nopen({str(turn)!r}).readline()\n" + foreign.read_text())
    flags = KnownFlags(PYTHON, foreign)

    async def together() -> BaseException | None:
        thinking = asyncio.create_task(flags.check({"rank": ["x"]}, [], cwd=tmp_path))
        await asyncio.to_thread(os.read, reader, 1)
        os.write(writer, b"\n")
        return (await asyncio.gather(thinking, return_exceptions=True))[0]

    refusal = asyncio.run(together())
    os.close(reader)
    os.close(writer)
    assert isinstance(refusal, InvalidSetting)


def test_without_options_the_trainer_is_not_asked(foreign: Path, asked: Path) -> None:
    check(KnownFlags(PYTHON, foreign), {})
    assert not asked.exists()
