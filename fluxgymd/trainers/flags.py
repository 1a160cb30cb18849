# SPDX-License-Identifier: Apache-2.0
"""What the trainer itself says of a command line, before it is started with it: no list of ours can be out of date.

A trainer that has --check_command_line (ours) is asked about the whole line. Of another one (sd-scripts) the kinds of
its flags are asked, once. Where there is no answer nothing is refused here: the trainer refuses it itself when it
starts. docs/decisions/0012-flags-asked-of-the-trainer.md says why.
"""

import asyncio
import hashlib
import itertools
import logging
import os
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgymd import lanes
from fluxgymd.attempts.environment import job_environment
from fluxgymd.trainers import describe
from fluxgymd.trainers.flag_kinds import Flag, by_name, check

CHECK = "check_command_line"
WRONG = 2
"""The exit status for a wrong command line: argparse's."""
ANSWER_SECONDS = 60.0
"""sd-scripts imports torch before it knows its flags: 6 s here, more on a slow disk. Ours answers in 0.1 s,
or in some seconds where it imports torch to try an optimizer."""
REMEMBERED = 1000
OF_THE_JOB = {"--output_dir", "--output_name", "--dataset_config", "--sample_prompts"}
LANE = "the trainer"
"""Its volume may hang, and then only questions to it wait: no job has this name."""

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""The GPUs may be full of other jobs."""

log = logging.getLogger(__name__)

Stamp = frozenset[tuple[Path, int, int]]
"""The files of a trainer, each with its time and size."""


class KnownFlags:
    """Asks each question once, until a file of the trainer changes."""

    def __init__(self, python: Path, script: Path) -> None:
        self._python = python
        self._script = script
        self._known: tuple[Stamp, dict[str, Flag]] | None = None
        self._taken: deque[bytes] = deque(maxlen=REMEMBERED)
        """Digests of command lines that were taken, but for the job's name."""
        self._question: asyncio.Task[dict[str, Flag]] | None = None

    async def check(self, options: Mapping[str, Sequence[str]], command_line: Sequence[str], *, cwd: Path) -> None:
        """InvalidSetting for what the trainer would not take. `options`: what the user gave under its own names;
        `command_line`: what comes of them, without the script; `cwd`: where it would run, which may not be there
        yet."""
        if not options:
            return
        # Who comes while it is asked waits for the same answer: sixteen at once would import torch sixteen times.
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._flags(), name="trainer-flags")
        known = await asyncio.shield(self._question)
        if CHECK in known:
            await self._ask(options, command_line, cwd)
        elif known:
            check(options, known)

    async def _ask(self, options: Mapping[str, Sequence[str]], command_line: Sequence[str], cwd: Path) -> None:
        # What names the job is the daemon's own, and right whatever it says.
        words = [word for flag, word in itertools.pairwise(["", *command_line]) if flag not in OF_THE_JOB]
        asked = hashlib.sha256(msgspec.json.encode(words)).digest()
        if asked in self._taken:
            return
        answer = await self._run(str(self._script), *command_line, f"--{CHECK}", cwd=cwd)
        if answer is None:
            return
        if answer.returncode == 0:
            self._taken.append(asked)
            return
        errors = re.findall(r"^error: (.+)$", answer.stderr, re.MULTILINE)
        if answer.returncode != WRONG or not errors:
            log.warning("the trainer could not check a command line: %s", answer.stderr[-1000:] or answer)
            return
        said = errors[-1] if errors[-1].endswith(("?", ".")) else f"{errors[-1]}."
        named = [name for name in re.findall(r"--(\w+)", said) if name in options]
        raise InvalidSetting(f"The trainer refuses this: {said}", setting=named[0] if named else "trainer_options")

    async def _flags(self) -> dict[str, Flag]:
        """Its flags by name; none where it does not tell."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                stamp = await lanes.run(LANE, _stamp, self._script)
        except (OSError, TimeoutError):
            return {}
        if self._known is None or self._known[0] != stamp:
            answer = await self._run(describe.__file__, str(self._script))
            try:
                flags = by_name(msgspec.json.decode(answer.stdout if answer else "", type=list[Flag]))
            except msgspec.MsgspecError:
                log.warning("%s does not tell its flags: %s", self._script, answer.stderr[-1000:] if answer else "")
                return {}
            self._known = (stamp, flags)
            self._taken.clear()
        return self._known[1]

    async def _run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str] | None:
        """Runs the trainer's Python as a job would; None if it cannot be run or does not end."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await lanes.run(LANE, _answer, [str(self._python), *words], cwd)
        except (OSError, ValueError, TimeoutError, subprocess.TimeoutExpired) as error:
            log.warning("the trainer does not answer: %r", error)
            return None


def _stamp(script: Path) -> Stamp:
    """Blocks. OSError if there is no such script."""
    files = {script, *script.parent.glob("*.py"), *script.parent.glob("library/*.py")}
    return frozenset((file, found.st_mtime_ns, found.st_size) for file in files for found in (file.stat(),))


def _answer(words: Sequence[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
    """Blocks, as long as ANSWER_SECONDS."""
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=ANSWER_SECONDS,
        cwd=cwd if cwd is not None and cwd.is_dir() else None,
        env=job_environment(os.environ) | NO_GPU,
        check=False,
    )
