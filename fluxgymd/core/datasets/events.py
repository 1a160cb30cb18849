# SPDX-License-Identifier: Apache-2.0
"""The events of a stored dataset, which are the lines of its journal.

As for jobs (core/journal/events.py), an event may be added, and a field with a default; nothing may be removed or
change its meaning. The number of an event is that of its line, from 1.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from fluxgym.protocol.dataset_messages import Crop
from fluxgymd.core.journal.decoding import decode_with
from fluxgymd.core.journal.events import Event
from fluxgymd.core.journal.records import Number, Record

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
"""In hex. It becomes the name of a file, so nothing else may be in it."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^/\x00]+$")]
"""The name of a picture, which becomes that of a file in a job's folder."""
Pixels = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]


class StoredPicture(Record, frozen=True, kw_only=True):
    """A picture as it was imported (fluxgymd/pictures/lines.py). Its file is in the store (store/pictures.py)."""

    name: Name
    sha256: Sha256
    source: Sha256
    """Of the user's file."""
    width: Pixels
    height: Pixels
    size: Number
    """Bytes."""
    caption: str | None = None
    mask: Sha256 | None = None
    repeats: Number | None = None
    class_tokens: str | None = None
    difference_hash: str = ""
    sharpness: float = 0.0
    notes: tuple[str, ...] = ()


class Edit(Record, frozen=True, kw_only=True):
    """What a change says of one picture. UNSET: nothing."""

    picture: str
    caption: str | UnsetType | None = UNSET
    """None: it has no caption."""
    crop: Crop | UnsetType | None = UNSET
    """None: all of it is trained."""
    used: bool | UnsetType = UNSET


class Created(Event, frozen=True, kw_only=True, tag="created"):
    """The first event of every dataset."""

    id: str
    version: int = 1


class Added(Event, frozen=True, kw_only=True, tag="added"):
    """Pictures were imported; their files are durable."""

    pictures: tuple[StoredPicture, ...]
    change: Number = 0
    """The number of the first event of the same import; 0: this one is the first."""
    left_out: tuple[str, ...] = ()
    """If it was the import of a plain folder, which nobody watched: sentences about what it left out."""


class Edited(Event, frozen=True, kw_only=True, tag="edited"):
    """Captions, crops or the use of pictures were changed."""

    edits: tuple[Edit, ...]
    found: str | None = None
    """The text that was replaced, if it was a replacement."""


class Undone(Event, frozen=True, kw_only=True, tag="undone"):
    """A change, or an earlier undo, no longer counts."""

    change: Number


AnyEvent = Created | Added | Edited | Undone

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def decode(line: bytes) -> AnyEvent:
    """The event on a line of the journal. msgspec.MsgspecError if this version doesn't know it."""
    event: AnyEvent = decode_with(_decoder, line)
    return event
