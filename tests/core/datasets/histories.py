# SPDX-License-Identifier: Apache-2.0
"""Events of datasets for tests."""

from typing import Any

from fluxgymd.core.datasets import events as e


def created() -> e.Created:
    return e.Created(at=1.0, id="0" * 32)


def stored(name: str, **fields: Any) -> e.StoredPicture:
    """A picture whose hash follows from its name, unless it is given."""
    digest = name.encode().hex().ljust(64, "0")[:64]
    values: dict[str, Any] = {"sha256": digest, "source": digest, "width": 640, "height": 480, "size": 1000} | fields
    return e.StoredPicture(name=name, **values)


def added(*names: str, change: int = 0, **fields: Any) -> e.Added:
    return e.Added(at=2.0, pictures=tuple(stored(name, **fields) for name in names), change=change)


def edited(picture: str, **changes: Any) -> e.Edited:
    return e.Edited(at=3.0, edits=(e.Edit(picture=picture, **changes),))


def undone(change: int) -> e.Undone:
    return e.Undone(at=4.0, change=change)
