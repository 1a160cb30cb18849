# SPDX-License-Identifier: Apache-2.0
"""The same action on several jobs: a refusal of one does not keep the others from theirs."""

from collections.abc import Callable, Iterable

from fluxgym.errors import DaemonUnreachable, FluxgymError
from fluxgymctl.output import note


def each(names: Iterable[str], action: Callable[[str], None]) -> int:
    """Calls the action with each name. The exit status of the first refusal, or 0. Without a daemon it stops."""
    status = 0
    for name in names:
        try:
            action(name)
        except DaemonUnreachable:
            raise
        except FluxgymError as error:
            note(error.message)
            status = status or error.exit_status
    return status
