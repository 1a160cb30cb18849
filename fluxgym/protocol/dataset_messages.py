# SPDX-License-Identifier: Apache-2.0
"""The types of org.fluxgym.Datasets: pictures, changes and findings (see messages.py)."""

from fluxgym.protocol.messages import Message, OpenEnum


class DatasetState(OpenEnum):
    STORED = "stored"
    PLAIN = "plain"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


class Crop(Message, frozen=True, kw_only=True):
    left: int
    top: int
    width: int
    height: int


class Picture(Message, frozen=True, kw_only=True):
    name: str
    caption: str | None = None
    crop: Crop | None = None
    used: bool
    masked: bool
    width: int | None = None
    height: int | None = None
    size: int | None = None
    sha256: str | None = None
    repeats: int | None = None
    class_tokens: str | None = None
    notes: list[str] | None = None
    revision: int | None = None


class DatasetChangeKind(OpenEnum):
    CREATED = "created"
    ADDED = "added"
    EDITED = "edited"
    REPLACED = "replaced"
    UNDONE = "undone"
    UNKNOWN = "unknown"


class DatasetChange(Message, frozen=True, kw_only=True):
    number: int
    kind: DatasetChangeKind
    at: float
    pictures: int
    text: str
    undone_by: int | None = None


class Dataset(Message, frozen=True, kw_only=True):
    name: str
    state: DatasetState
    home: str
    pictures: int | None = None
    used: int | None = None
    captioned: int | None = None
    size: int | None = None
    revision: int | None = None
    created_at: float | None = None
    changed_at: float | None = None
    problem: str | None = None


class PictureChange(Message, frozen=True, kw_only=True):
    picture: str
    caption: str | None = None
    crop: Crop | None = None
    whole: bool | None = None
    used: bool | None = None


class Replacement(Message, frozen=True, kw_only=True):
    picture: str
    before: str
    after: str


class FindingKind(OpenEnum):
    NEAR_DUPLICATES = "near_duplicates"
    BLURRED = "blurred"
    SMALL = "small"
    NO_CAPTION = "no_caption"
    SAME_CAPTION = "same_caption"
    UNKNOWN = "unknown"


class Finding(Message, frozen=True, kw_only=True):
    kind: FindingKind
    pictures: list[str]
    text: str


class RemovedDataset(Message, frozen=True, kw_only=True):
    name: str
    removed_at: float
