# SPDX-License-Identifier: Apache-2.0
"""Questions to a trainer's own program: which flags it has and, if it has --check_job, what it says about a job.

Each question runs the trainer's Python and waits for it in a thread, without a GPU and within limits. An identical
question waits for the answer that is already under way, and an answer without problems is kept until one of the
files that it depends on changes. If there is no answer, nothing is refused
(docs/decisions/0063-the-trainer-is-a-port.md).
"""

import asyncio
import hashlib
import logging
import math
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import msgspec

from fluxgymd.attempts.environment import job_environment
from fluxgymd.background import bounded, lanes
from fluxgymd.background.bounded import Overran, ProgramOutput
from fluxgymd.background.helpers import ResourceLimits
from fluxgymd.background.turns import Turns
from fluxgymd.core.journal.decoding import decode
from fluxgymd.trainers import describe
from fluxgymd.trainers.answer import CheckAnswer
from fluxgymd.trainers.flag_kinds import Flag, by_name

CHECK = "check_job"
PLAN = "plan"
"""The flag that asks the same and also what will happen."""
ANSWER_SECONDS = 120.0
"""A trainer that imports torch takes some seconds to answer, and many more on a slow or busy disk."""
ANSWER_BYTES = 32 << 20
"""An answer may report a problem with each of thousands of pictures, and a plan lists each of them."""
MEMORY_BYTES = 3 << 30
"""What a question may allocate. torch takes 0.2 to 1 GB; a file that needs more when it is expanded is not a state
(docs/decisions/0092-what-is-parsed-in-the-daemon.md)."""
MAPPED_BYTES = 24 << 30
"""The most that is added for files that it maps. AdamW's moments for a LoRA of rank 512 on all layers are 20 GB."""
PATIENCE_SECONDS = ANSWER_SECONDS + 10
"""For a question whose program cannot be ended, since its volume hangs. One that is merely slow has ended before, and
its scratch folder is gone."""
AT_ONCE = 4
"""Questions of one kind (brief or long) that run at the same time for clients. Each long one may load torch."""
REMEMBERED = 1000
LANE = "the trainer"
"""For questions about the trainer itself. No job has this name: if the trainer's volume hangs, only these wait."""
WRITTEN_LATELY_NS = 50_000_000
"""A file that was modified this shortly before the question began, or later, may have changed while it was read."""

QUIET = {
    "PYTHONUTF8": "1",  # paths are UTF-8, as for the job itself
    "CUDA_VISIBLE_DEVICES": "",  # the GPUs may be full of other jobs
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # there is little to compute, and other programs need the cores
}

BRIEFLY = {"FLUXGYM_CHECK": "briefly"}
"""Asks for an answer without torch. If the check needs torch, the answer is that it takes long (docs/trainer.md)."""

log = logging.getLogger(__name__)

Stamps = Mapping[str, tuple[int, int, int] | None]
"""By file: the time of its last change in nanoseconds, its size and its inode; None if there is no such file."""


Checked = tuple[CheckAnswer | None, Stamps | None]
"""The answer, if any, and the stamps of the files that it depends on; no stamps if one of those files is changing."""


class Inquiry:
    """Asks one trainer, and keeps its answers."""

    def __init__(self, python: Path, script: Path) -> None:
        self._python = python
        self._script = script
        self._known: tuple[Stamps, dict[str, Flag]] | None = None
        self._flags: asyncio.Task[dict[str, Flag]] | None = None
        self._under_way: dict[bytes, asyncio.Task[CheckAnswer | None]] = {}
        self._answers: OrderedDict[bytes, tuple[Stamps, CheckAnswer]] = OrderedDict()
        # Questions that import torch have turns of their own, so that an ordinary job never waits behind them.
        self._brief, self._long = Turns(AT_ONCE), Turns(AT_ONCE)

    async def flags(self) -> dict[str, Flag]:
        """The trainer's flags by name; empty if it does not answer."""
        # Otherwise sixteen submits at once would import torch sixteen times.
        if self._flags is None or self._flags.done():
            self._flags = asyncio.create_task(self._ask_flags(), name="trainer-flags")
        return await asyncio.shield(self._flags)

    async def ask(
        self,
        words: Sequence[str],
        *,
        files: Mapping[str, bytes],
        folder: Path,
        name: str,
        processes: int = 1,
        forecast: Mapping[str, str] | None = None,
    ) -> CheckAnswer | None:
        """What --check_job says about a command line; None if there is no answer.

        `files`: the files that the job reads from its folder, by name. They are written for the question; `words`
        refers to them by the paths that they will have in `folder`, the job's own folder, which may not exist yet.
        `name`: the job's name. `processes`: how many processes would train it together. `forecast`: set if --plan is
        asked instead, where the trainer has it; variables of its environment. Such an answer may be large, so it is
        not kept.
        """
        flags = await self.flags()
        if CHECK not in flags:
            return None
        planned = forecast is not None and PLAN in flags
        words = [*words, f"--{PLAN if planned else CHECK}"]
        # accelerate's launcher sets WORLD_SIZE: an epoch has fewer steps if several processes share its batches.
        more = {"WORLD_SIZE": str(processes), **(forecast or {})}
        key = hashlib.sha256(msgspec.json.encode((str(folder), words, sorted(files.items()), more))).digest()
        kept = await self._kept(key, name)
        if kept is not None:
            return kept
        if key not in self._under_way:
            work = self._answer(key, words, files, folder, name, more, keep=not planned)
            task = self._under_way[key] = asyncio.create_task(work, name=f"check-{name}")
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(self._under_way[key])

    async def _kept(self, key: bytes, name: str) -> CheckAnswer | None:
        """An earlier answer, if nothing that it depends on has changed since."""
        if key not in self._answers:
            return None
        before, answer = self._answers[key]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                now = await lanes.run(_lane(name), _stamps, tuple(before))
        except TimeoutError:
            return None
        if now == before:
            self._answers.move_to_end(key)
            return answer
        self._answers.pop(key, None)
        return None

    async def _answer(
        self,
        key: bytes,
        words: Sequence[str],
        files: Mapping[str, bytes],
        folder: Path,
        name: str,
        more: dict[str, str],
        *,
        keep: bool,
    ) -> CheckAnswer | None:
        work = partial(self._run_check, words, files, folder)
        answer, stamps = await _in_turn(self._brief, name, partial(work, more | BRIEFLY))
        if answer is not None and answer.takes_long:
            answer, stamps = await _in_turn(self._long, name, partial(work, more))
        if answer is None or stamps is None or answer.problems or not keep:
            return answer
        self._answers[key] = (stamps, answer)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    def _run_check(
        self, words: Sequence[str], files: Mapping[str, bytes], folder: Path, more: Mapping[str, str]
    ) -> Checked:
        """Asks once. `more`: additional environment variables. Blocks."""
        began = time.time_ns()
        # Beside the job's folder, so that a relative path means the same while the job's folder does not exist. After
        # a crash it is deleted with the other half-made folders (store/home.py).
        with tempfile.TemporaryDirectory(prefix=".new-check-", dir=folder.parent) as scratch:
            for file, data in files.items():
                Path(scratch, file).write_bytes(data)
            moved = {str(folder / file): str(Path(scratch, file)) for file in files}
            given = [moved.get(word, word) for word in words]
            cwd = folder if os.path.isdir(folder) else Path(scratch)
            line = [str(self._python), str(self._script), *given]
            ran = _run(line, cwd, memory=MEMORY_BYTES + _mapped_bytes(words, folder), more=more)
        if ran.status != 0:
            log.warning("the trainer could not check a job (status %d): %s", ran.status, _text(ran.errors[-2000:]))
            return None, None
        try:
            answer = decode(ran.output, CheckAnswer)
        except msgspec.MsgspecError as error:
            log.warning("the trainer's answer about a job cannot be read: %s: %s", error, _text(ran.output[:2000]))
            return None, None
        answer = answer.renamed({scratch_path: path for path, scratch_path in moved.items()})
        own = [file for file in answer.files if file not in moved.values()]
        stamps = _stamps((*own, *_program_files(self._script)))
        changing = any(stamp is not None and stamp[0] > began - WRITTEN_LATELY_NS for stamp in stamps.values())
        return answer, None if changing else stamps

    async def _ask_flags(self) -> dict[str, Flag]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                stamps = await lanes.run(LANE, lambda: _stamps(_program_files(self._script)))
                if stamps[str(self._script)] is None:
                    return {}
                if self._known is None or self._known[0] != stamps:
                    words = [str(self._python), describe.__file__, str(self._script)]
                    answer = await lanes.run(LANE, _run, words, None)
                    flags = _read_flags(self._script, answer)
                    if not flags:
                        return {}
                    self._known = (stamps, flags)
                    self._answers.clear()
                return self._known[1]
        except (OSError, ValueError, TimeoutError, Overran) as error:
            log.warning("the trainer does not answer: %r", error)
            return {}


async def _in_turn(turns: Turns, name: str, work: Callable[[], Checked]) -> Checked:
    async with turns.turn():
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await lanes.run(_lane(name), work)
        except (OSError, ValueError, TimeoutError, Overran) as error:
            log.warning("%s: the trainer did not check the job: %r", name, error)
            return None, None


def _read_flags(script: Path, answer: ProgramOutput) -> dict[str, Flag]:
    try:
        return by_name(decode(answer.output, list[Flag]))
    except msgspec.MsgspecError:
        log.warning("%s did not report its flags: %s", script, _text(answer.errors[-1000:]))
        return {}


def _lane(name: str) -> str:
    """A lane for each job: a dataset on a volume that hangs must not delay the questions about other jobs."""
    return f"the check of {name}"


def _program_files(script: Path) -> tuple[str, ...]:
    """The trainer's own Python files. Blocks."""
    return tuple(map(str, sorted({script, *script.parent.glob("*.py"), *script.parent.glob("library/**/*.py")})))


def _stamps(files: Sequence[str]) -> Stamps:
    """The stamps of these files. Blocks."""
    found: dict[str, tuple[int, int, int] | None] = {}
    for file in files:
        try:
            facts = os.stat(file)
        except (OSError, ValueError):
            found[file] = None
        else:
            found[file] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return found


def _mapped_bytes(words: Sequence[str], folder: Path) -> int:
    """Bytes that the trainer maps into memory to check the state and the weights that it would begin with; at most
    MAPPED_BYTES, however large somebody made a file. Blocks."""
    total = 0
    for flag, word in pairwise(words):
        if flag in ("--resume", "--network_weights"):
            path = folder / word
            files = list(path.iterdir()) if path.is_dir() else [path]
            total += sum(stamp[1] for stamp in _stamps([str(file) for file in files]).values() if stamp is not None)
    return min(total, MAPPED_BYTES)


def _run(
    words: Sequence[str],
    cwd: Path | None,
    *,
    memory: int = MEMORY_BYTES,
    more: Mapping[str, str] = MappingProxyType({}),
) -> ProgramOutput:
    """Runs a command as a job would run, but within limits. Blocks. `memory`: bytes; `more`: additional environment
    variables."""
    return bounded.run(
        words,
        seconds=ANSWER_SECONDS,
        most=ANSWER_BYTES,
        # At full priority: a user waits for the answer, which takes one core for three seconds. At nice 10, eight
        # busy processes on two cores starved it for two minutes, and a wrong setting was accepted unchecked.
        limits=ResourceLimits(data_bytes=memory, cpu_seconds=math.ceil(ANSWER_SECONDS)),
        cwd=cwd,
        env={**job_environment(os.environ), **QUIET, **more},
    )


def _text(said: bytes) -> str:
    return said.decode(errors="replace")
