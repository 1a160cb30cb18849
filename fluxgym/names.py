# SPDX-License-Identifier: Apache-2.0
"""The names of jobs: they become folders, unit names and files, so only what is safe in all three is taken."""

import re

from fluxgym.errors import InvalidName

_VALID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    """The name itself if it is good; InvalidName with a proposal if not."""
    if _VALID.fullmatch(name):
        return name
    proposal = propose(name)
    raise InvalidName(
        f"The name {name!r} cannot be used: a name has 1 to 64 of a-z, 0-9, '.', '_' and '-', and begins with a "
        f"letter or digit; {proposal!r} would do.",
        name=name,
        proposal=proposal,
    )


def propose(name: str) -> str:
    """A valid name that resembles this one."""
    text = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")
    return text[:64].rstrip("._-") or "my-lora"
