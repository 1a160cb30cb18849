# SPDX-License-Identifier: Apache-2.0
"""Chooses what runs the attempts: systemd's scopes, or plain processes if there is no user manager. Pure.

A daemon that systemd started never falls back to processes, because systemd would end its jobs with it.
"""

from dataclasses import dataclass

from fluxgym.errors import ConfigInvalid, FluxgymError


class NoUserManager(FluxgymError):
    """Scopes are required, but there is no user manager to create them."""


@dataclass(frozen=True, slots=True)
class Choice:
    adapter: str
    reason: str


def choose(setting: str, *, started_by_systemd: bool, manager_problem: str | None) -> Choice:
    """Chooses the adapter. `setting`: auto, scope or process. `manager_problem`: why the user's systemd cannot be
    used; None if it can. Raises ConfigInvalid or NoUserManager if the setting cannot be met."""
    if setting == "process" and started_by_systemd:
        raise ConfigInvalid(
            "The supervisor is set to process, but systemd started the daemon and would end its jobs with it; "
            "set supervisor to auto or scope."
        )
    if setting == "process":
        return Choice("process", "The configuration says so.")
    if started_by_systemd:
        return Choice("scope", "systemd started the daemon.")
    if manager_problem is None:
        return Choice("scope", "The user's systemd answers.")
    if setting == "scope":
        raise NoUserManager(
            f"The supervisor is set to scope, but {manager_problem}; log in with a session that has a user manager, "
            "or use --supervisor process."
        )
    return Choice("process", f"There is no user manager: {manager_problem}.")
