# SPDX-License-Identifier: Apache-2.0
"""The names of jobs. They become folders, unit names and files, so a name must be safe as each of them."""

import re

from fluxgym.errors import InvalidName
from fluxgym.quoting import QUOTED, short

_VALID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    """The name itself if it is valid; otherwise InvalidName with a proposal."""
    if _VALID.fullmatch(name):
        return name
    proposal = propose(name)
    raise InvalidName(
        f"The name {short(name)!r} is not valid: a name has 1 to 64 characters from a-z, 0-9, '.', '_' and '-', and "
        f"begins with a letter or digit; {proposal!r} would be valid.",
        name=short(name),
        proposal=proposal,
    )


def propose(name: str) -> str:
    """A valid name that resembles this one."""
    text = re.sub(r"[^a-z0-9._-]+", "-", name[:QUOTED].lower()).strip("._-")
    return text[:64].rstrip("._-") or "my-lora"
