# SPDX-License-Identifier: Apache-2.0
"""The interface definitions, as the running daemon shows them."""

from importlib import resources


def description(interface: str) -> str:
    """The text of an interface definition file. FileNotFoundError if there is none."""
    return (resources.files(__name__) / f"{interface}.varlink").read_text(encoding="utf-8")
