# SPDX-License-Identifier: Apache-2.0
"""A wrapper around g++ that makes inductor compile quickly. Tests do not care how fast the compiled code is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PREFIX = "torch/csrc/inductor/cpp_prefix.h"
"""The header that every kernel includes first. Reading it takes most of the time that compiling a kernel takes."""

SCRIPT = """#!/bin/sh
case "$*" in
*.main.cpp*) ;;
*) exec /usr/bin/g++ "$@" -O0 ;;
esac
echo >>'{folder}/begun'
parsed='{folder}/include/{prefix}.gch'
if ! [ -e "$parsed" ]; then
    flags='' before=''
    for word; do
        case $before:$word in -o:* | *:-o | *.cpp | *:-[lL]* | *:-shared) ;; *) flags="$flags $word" ;; esac
        before=$word
    done
    /usr/bin/g++ $flags -O0 -w -x c++-header '{torch}/include/{prefix}' -o "$parsed.$$" && mv "$parsed.$$" "$parsed"
fi
exec /usr/bin/g++ -I'{folder}/include' "$@" -O0
"""


class Compiler:
    """`path` is the wrapper. It precompiles the kernels' common header, and records each kernel it begins."""

    def __init__(self, folder: Path) -> None:
        torch = importlib.util.find_spec("torch")
        assert torch is not None
        assert torch.origin is not None
        (folder / "include" / PREFIX).parent.mkdir(parents=True)
        self._begun = folder / "begun"
        self.path = folder / "g++"
        self.path.write_text(SCRIPT.format(folder=folder, prefix=PREFIX, torch=Path(torch.origin).parent))
        self.path.chmod(0o755)

    def kernels(self) -> int:
        """How many kernels it has begun to compile."""
        return self._begun.read_text().count("\n") if self._begun.exists() else 0
