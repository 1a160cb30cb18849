# SPDX-License-Identifier: Apache-2.0
"""Variables with which a program may be started although they suit no program."""

from __future__ import annotations

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Variables for a locale that isn't UTF-8, on any machine."""
EMPTY = ("HOME", "PATH", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
