# SPDX-License-Identifier: Apache-2.0
"""The first thing that each of FluxGym's programs does, so that it behaves the same wherever it is started.

docs/decisions/0071-what-the-environment-decides.md gives the reasons.
"""

import os
import sys
from collections.abc import MutableMapping

MEANS_SOMETHING_EMPTY = "VISIBLE_DEVICES"
"""The ending of CUDA_VISIBLE_DEVICES and similar variables, which hide every GPU if they are empty."""


def settle() -> None:
    """Drops empty variables, and executes this program again in UTF-8 mode if the locale's encoding isn't UTF-8."""
    drop_empty(os.environ)
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def drop_empty(environ: MutableMapping[str, str]) -> None:
    """Deletes empty variables. They count as unset, as in the XDG specification: `XDG_RUNTIME_DIR=` names nothing."""
    for name in [name for name, value in environ.items() if not value]:
        if not name.endswith(MEANS_SOMETHING_EMPTY):
            del environ[name]
