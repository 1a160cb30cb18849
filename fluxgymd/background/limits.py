# SPDX-License-Identifier: Apache-2.0
"""The limit on this process's open files at its start (setrlimit(2)), and the shares into which the daemon divides
it."""

import resource

_SOFT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

DESCRIPTORS = 1 << 20 if _SOFT == resource.RLIM_INFINITY else _SOFT
"""Files and connections that may be open at a time. By default systemd allows 1024 (systemd.exec(5))."""


OWN = 64
"""The descriptors that an idle daemon has open, with room for a burst of short connections."""


def share(most: int, part: int) -> int:
    """The smaller of `most` and one in `part` of the descriptors that the daemon does not need itself, but at least
    1."""
    return max(1, min(most, (DESCRIPTORS - OWN) // part))
