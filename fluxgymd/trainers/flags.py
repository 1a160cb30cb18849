# SPDX-License-Identifier: Apache-2.0
"""The flags of a trainer, asked of the trainer itself by `--help`, so that no list of ours can be out of date."""

import asyncio
import difflib
import re
from contextlib import suppress
from pathlib import Path

from fluxgym.errors import InvalidSetting

HELP_SECONDS = 60
"""Upstream imports torch before it prints its help: 5 s here, more on a slow disk."""


class KnownFlags:
    """Caches the answer until the script changes. Where the trainer does not answer nothing is known, and then
    nothing is refused here: the trainer refuses it itself when it starts."""

    def __init__(self, python: Path, script: Path) -> None:
        self._python = python
        self._script = script
        self._asked: tuple[float, frozenset[str]] | None = None

    async def check(self, options: dict[str, list[str]]) -> None:
        """InvalidSetting for an option that the trainer does not have, with the nearest one that it has."""
        if not options:
            return
        known = await self._flags()
        for name in options:
            if known and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else "see docs/trainer.md for those it has."
                raise InvalidSetting(f"The trainer has no flag --{name}; {hint}", setting=name)

    async def _flags(self) -> frozenset[str]:
        try:
            changed = self._script.stat().st_mtime
        except OSError:
            return frozenset()
        if self._asked is None or self._asked[0] != changed:
            flags = parse_help(await self._help())
            if not flags:
                return flags
            self._asked = (changed, flags)
        return self._asked[1]

    async def _help(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                self._python,
                self._script,
                "--help",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            return ""
        try:
            async with asyncio.timeout(HELP_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            return ""
        return output.decode(errors="replace")


def parse_help(text: str) -> frozenset[str]:
    """The long flags in a help text of argparse, without their dashes."""
    return frozenset(re.findall(r"(?<![\w-])--([a-zA-Z][\w-]*)", text)) - {"help"}
