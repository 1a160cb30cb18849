# SPDX-License-Identifier: Apache-2.0
"""Shows a notification on the user's desktop if the session bus has a service for that. Without one nothing happens,
which is not an error.
"""

import logging
from collections.abc import Mapping

from fluxgymd.host.bus_types import BusError, user_bus_address

log = logging.getLogger(__name__)


async def show(title: str, body: str, *, environ: Mapping[str, str]) -> None:
    try:
        from fluxgymd.host.bus import notify_desktop
    except ImportError:  # the extra fluxgym[systemd] is not installed
        return
    address = user_bus_address(environ)
    if address is None:
        return
    try:
        await notify_desktop(address, title, body)
    except BusError as error:
        log.debug("no desktop was notified: %s", error)
