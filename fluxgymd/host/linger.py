# SPDX-License-Identifier: Apache-2.0
"""Whether the user's services outlive the last logout. Without linger, logind then ends them and all jobs (pueue
#511)."""

import os
import pwd
from pathlib import Path

from fluxgym.protocol.machine_messages import Linger

LINGER_FOLDER = Path("/var/lib/systemd/linger")
"""The folder in which logind has one file for each user with linger (systemd's logind-user.c)."""


def linger() -> Linger:
    if not Path("/run/systemd/seats").is_dir():
        return Linger.UNKNOWN  # no logind runs here, so there are no logouts either
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return Linger.UNKNOWN
    return Linger.ENABLED if (LINGER_FOLDER / name).exists() else Linger.DISABLED
