# SPDX-License-Identifier: Apache-2.0
"""The flags of a trainer are asked of the trainer itself: of ours, and of programs that do not answer."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from fluxgym.errors import InvalidSetting
from fluxgymd.core.resume import Trainer
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.flags import KnownFlags, parse_help
from tests.core.histories import CONTEXT

PYTHON = Path(sys.executable)


def check(flags: KnownFlags, *names: str) -> None:
    asyncio.run(flags.check({name: [] for name in names}))


@pytest.fixture
def trainer(checkout: Path) -> Path:
    return checkout / "sd-scripts" / kohya.SCRIPT


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", set()),
        ("usage: x [-h] [--clip_l PATH]\n  -h, --help   show\n  --clip_l PATH  CLIP-L\n", {"clip_l"}),
        ("  --lr LR, --learning_rate LR\n", {"lr", "learning_rate"}),
        ("  --a_b {x,y}  see also --other-flag. --end\n", {"a_b", "other-flag", "end"}),
        ("a--b ---c -- --9x\n", set()),
    ],
)
def test_the_long_flags_of_a_help_text(text: str, flags: set[str]) -> None:
    assert parse_help(text) == flags


def test_our_trainer_is_asked_without_torch_and_knows_its_flags(trainer: Path) -> None:
    # This environment has no torch, so the help cannot have imported it.
    flags = KnownFlags(PYTHON, trainer)
    check(flags, "network_alpha", "sdpa")
    with pytest.raises(InvalidSetting) as refusal:
        check(flags, "network_alfa")
    assert refusal.value.message == "The trainer has no flag --network_alfa; did you mean network_alpha?"
    assert refusal.value.fields == {"setting": "network_alfa"}


def test_our_trainer_has_every_flag_that_the_daemon_passes(trainer: Path) -> None:
    argv = kohya.arguments(
        CONTEXT, JobFolder(Path("/outputs/my-lora")), "my-lora-000004-state", trainer=Trainer.SD_SCRIPTS
    )
    passed = [word[2:] for word in argv if word.startswith("--")]
    check(KnownFlags(PYTHON, trainer), *passed)


def test_an_option_with_nothing_near_points_to_the_list(trainer: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"no flag --zzz; see docs/trainer\.md for those it has\.$"):
        check(KnownFlags(PYTHON, trainer), "zzz")


@pytest.mark.parametrize("script", [None, "raise SystemExit(1)", "import no_such_module", "import os; os.abort()"])
def test_where_the_trainer_does_not_answer_nothing_is_refused(tmp_path: Path, script: str | None) -> None:
    path = tmp_path / "trainer.py"
    if script is not None:
        path.write_text(script)
    check(KnownFlags(PYTHON, path), "anything")


def test_a_python_that_is_not_there_refuses_nothing(trainer: Path, tmp_path: Path) -> None:
    check(KnownFlags(tmp_path / "python", trainer), "anything")


def test_the_answer_is_kept_until_the_script_changes(tmp_path: Path) -> None:
    script, asked = tmp_path / "trainer.py", tmp_path / "asked"

    def write(flag: str, time: int) -> None:
        script.write_text(f"open({str(asked)!r}, 'a').write('x')\nprint('--{flag}')\n")
        os.utime(script, (time, time))

    flags = KnownFlags(PYTHON, script)
    write("old", 1)
    check(flags, "old")
    check(flags, "old")
    assert asked.read_text() == "x"
    write("new", 2)
    check(flags, "new")
    with pytest.raises(InvalidSetting, match="no flag --old"):
        check(flags, "old")
    assert asked.read_text() == "xx"


def test_without_options_the_trainer_is_not_asked(tmp_path: Path) -> None:
    script, asked = tmp_path / "trainer.py", tmp_path / "asked"
    script.write_text(f"open({str(asked)!r}, 'w')\n")
    check(KnownFlags(PYTHON, script))
    assert not asked.exists()
