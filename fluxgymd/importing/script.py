# SPDX-License-Identifier: Apache-2.0
"""train.sh and train.bat: the flags that the trainer was given. The scripts are parsed, never executed.

The older FluxGym writes one command over many lines, `accelerate launch ... flux_train_network.py --flag value \\`,
and its users may edit it. Quotes, continued lines and comments are handled as in a shell. What only a shell can know,
such as the value of a variable, is left as it is written.
"""

import re
import shlex
from collections.abc import Iterator, Sequence

from fluxgymd.trainers.kohya import SCRIPT

Flags = dict[str, list[str]]
"""Flag, without its dashes -> its words; a switch has none."""

CONTINUED = re.compile(r"[\\^]\r?\n")
"""The end of a line that continues on the next one, in sh and in cmd.exe."""
NUMBERED_REDIRECTION = re.compile(r"\s\d(?=[<>])")
OPERATORS = ";<>|&"


def trainer_flags(text: str) -> Flags | None:
    """The flags of the last command that runs flux_train_network.py; None if there is no such command."""
    found = None
    for line in CONTINUED.sub("", text).splitlines():
        words = list(_words(line))
        starts = [index for index, word in enumerate(words) if re.split(r"[/\\]", word)[-1] == SCRIPT]
        if starts:  # the words before the script are accelerate's
            found = flags(words[starts[0] + 1 :])
    return found


def flags(words: Sequence[str]) -> Flags:
    """The words of a command line by flag. If a flag is given twice, the last one counts, as in argparse."""
    found: Flags = {}
    values: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            values = found[name] = [value] if equals else []
        else:
            values.append(word)
    return found


def _words(line: str) -> Iterator[str]:
    """The words of the line's first command, up to a comment, an operator or an unclosed quote."""
    lexer = shlex.shlex(NUMBERED_REDIRECTION.sub("", line), posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""  # shlex would split `a#b` into a word and a comment
    try:
        for word in lexer:
            if word.startswith("#") or (word and not word.strip(OPERATORS)):
                return
            yield word
    except ValueError:
        return
