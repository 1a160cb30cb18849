# SPDX-License-Identifier: Apache-2.0
"""The limits of a command line. A job that exceeds the kernel's limits is refused before it is queued: it could
never be started, and would be retried again and again.
"""

import os
from collections.abc import Iterator

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Model

LONGEST_ARGUMENT = 32 * os.sysconf("SC_PAGE_SIZE") - 1
"""Bytes: MAX_ARG_STRLEN of execve(2), without the NUL at the end."""
MOST_ARGUMENTS = min(os.sysconf("SC_ARG_MAX"), 6 << 20) // 2
"""Bytes of all arguments: half of what execve(2) takes, which is at most 6 MiB, or less if RLIMIT_STACK is small. The
other half is for the arguments that the daemon adds, and for the environment."""
POINTER = 8
"""Bytes that an argument takes in addition to its text and its NUL."""


def check(context: Context) -> None:
    """Raises InvalidSetting, which names the setting that does not fit on a command line."""
    total = 0
    for setting, word in _words(context):
        size = len(word.encode(errors="surrogatepass"))
        if size > LONGEST_ARGUMENT:
            raise InvalidSetting(
                f"{setting} has an argument of {size} bytes, but the kernel accepts at most {LONGEST_ARGUMENT}; "
                "put it into a file.",
                setting=setting,
            )
        total += size + 1 + POINTER
        if total > MOST_ARGUMENTS:
            raise InvalidSetting(
                f"The arguments of {setting} have more than {MOST_ARGUMENTS} bytes together, which is more than the "
                "kernel accepts; put them into a file.",
                setting=setting,
            )


def _words(context: Context) -> Iterator[tuple[str, str]]:
    """Every text that becomes a path or an argument, each after the name of its setting."""
    if context.dataset is not None:
        yield "dataset", context.dataset
    for part in context.parts or ():
        yield "parts", part.dataset
    for field in Model.__struct_fields__:
        path = getattr(context.model, field, None)
        if path is not None:
            yield f"model.{field}", path
    for word in context.program or ():
        yield "program", word
    for name, words in (context.trainer_options or {}).items():
        for word in (f"--{name}", *words):
            yield f"trainer_options.{name[:80]}", word
