# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the installed units with the user's systemd."""

import subprocess

from fluxgym.errors import FluxgymError


def systemctl(verb: str, *units: str, called: str, program: str) -> None:
    """Runs `systemctl --user`. If it fails, FluxgymError has its message. `called`: the verb of fluxgymctl;
    `program`: what can be run without systemd instead."""
    try:
        done = subprocess.run(["systemctl", "--user", verb, *units], capture_output=True, text=True)
    except FileNotFoundError:
        raise FluxgymError(
            f"There is no systemctl on this machine, so `{called}` cannot work; run `{program}` directly."
        ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise FluxgymError(f"systemctl --user {verb} {' '.join(units)} failed: {said}")
