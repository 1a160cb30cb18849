# SPDX-License-Identifier: Apache-2.0
"""Whether the user's services outlive the last log-out: without linger logind ends them and all jobs (pueue #511)."""

import os
import pwd
from pathlib import Path

from fluxgym.messages import Linger

LINGER_FOLDER = Path("/var/lib/systemd/linger")
"""Where logind keeps it, one file a user (loginctl(1), systemd's logind-user.c)."""


def linger() -> Linger:
    if not Path("/run/systemd/seats").is_dir():
        return Linger.UNKNOWN  # no logind runs here, so nobody logs out either
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return Linger.UNKNOWN
    return Linger.ENABLED if (LINGER_FOLDER / name).exists() else Linger.DISABLED
