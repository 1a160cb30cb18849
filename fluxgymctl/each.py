# SPDX-License-Identifier: Apache-2.0
"""The same action on several jobs: if one is refused, the others are still done."""

from collections.abc import Callable, Iterable

from fluxgym.errors import DaemonUnreachable, FluxgymError
from fluxgymctl.output import note_each


def each(names: Iterable[str], action: Callable[[str], None]) -> int:
    """Calls the action with each name, and returns the exit status of the first refusal, or 0. DaemonUnreachable ends
    it."""
    status = 0
    for name in names:
        try:
            action(name)
        except DaemonUnreachable:
            raise
        except FluxgymError as error:
            note_each(error.message)
            status = status or error.exit_status
    return status
