# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the installed units through the user's systemd."""

import subprocess

from fluxgym.errors import FluxgymError


def systemctl(verb: str, *units: str, called: str, program: str) -> None:
    """Runs `systemctl --user`. If it fails, raises FluxgymError with its message. `called`: the verb of fluxgymctl;
    `program`: what to run instead if there is no systemd."""
    try:
        done = subprocess.run(["systemctl", "--user", verb, *units], capture_output=True, text=True)
    except FileNotFoundError:
        raise FluxgymError(
            f"There is no systemctl on this machine, so `{called}` does not work; run `{program}` directly."
        ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise FluxgymError(f"systemctl --user {verb} {' '.join(units)} failed: {said}")
