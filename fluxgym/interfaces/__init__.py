# SPDX-License-Identifier: Apache-2.0
"""The interface definitions, which the daemon also returns from GetInterfaceDescription."""

from importlib import resources


def description(interface: str) -> str:
    """The text of an interface's definition. FileNotFoundError if there is none."""
    return (resources.files(__name__) / f"{interface}.varlink").read_text(encoding="utf-8")
