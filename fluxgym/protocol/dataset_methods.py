# SPDX-License-Identifier: Apache-2.0
"""Every method of org.fluxgym.Datasets (see methods.py)."""

from fluxgym.protocol.dataset_messages import (
    Dataset,
    DatasetChange,
    Finding,
    Picture,
    PictureChange,
    RemovedDataset,
    Replacement,
)
from fluxgym.protocol.messages import Message, Revision, TriggerPlace
from fluxgym.protocol.methods import Method, Nothing


class DatasetName(Message, frozen=True, kw_only=True):
    name: str


class OneDataset(Message, frozen=True, kw_only=True):
    dataset: Dataset


class ListDatasetsParameters(Message, frozen=True, kw_only=True):
    removed: bool | None = None


class ListDatasetsReply(Message, frozen=True, kw_only=True):
    dataset: Dataset | None = None
    removed: RemovedDataset | None = None


class DescribeDatasetReply(Message, frozen=True, kw_only=True):
    dataset: Dataset
    changes: list[DatasetChange]


class AddParameters(Message, frozen=True, kw_only=True):
    name: str
    path: str
    subfolders: bool | None = None
    caption_ending: str | None = None
    most_megapixels: float | None = None


class AddReply(Message, frozen=True, kw_only=True):
    file: str | None = None
    picture: Picture | None = None
    duplicate: bool | None = None
    problem: str | None = None
    note: str | None = None
    added: int | None = None
    duplicates: int | None = None
    problems: int | None = None


class PicturesParameters(Message, frozen=True, kw_only=True):
    name: str
    picture: str | None = None
    trigger_word: str | None = None
    trigger_place: TriggerPlace | None = None


class PicturesReply(Message, frozen=True, kw_only=True):
    picture: Picture | None = None
    trained: str | None = None


class ChangeParameters(Message, frozen=True, kw_only=True):
    name: str
    changes: list[PictureChange]
    revision: int | None = None


class ChangeReply(Message, frozen=True, kw_only=True):
    dataset: Dataset
    pictures: list[Picture]


class ReplaceParameters(Message, frozen=True, kw_only=True):
    name: str
    find: str
    replace: str
    preview: bool | None = None
    revision: int | None = None


class ReplaceReply(Message, frozen=True, kw_only=True):
    dataset: Dataset
    replacements: list[Replacement]


class UndoParameters(Message, frozen=True, kw_only=True):
    name: str
    change: int | None = None


class UndoReply(Message, frozen=True, kw_only=True):
    dataset: Dataset
    undone: DatasetChange


class CheckParameters(Message, frozen=True, kw_only=True):
    name: str
    resolution: int | None = None


class CheckReply(Message, frozen=True, kw_only=True):
    findings: list[Finding]


class ThumbnailParameters(Message, frozen=True, kw_only=True):
    name: str
    picture: str
    side: int | None = None


class ThumbnailReply(Message, frozen=True, kw_only=True):
    path: str


class WatchDatasetsParameters(Message, frozen=True, kw_only=True):
    name: str | None = None
    since: Revision | None = None


class WatchDatasetsReply(Message, frozen=True, kw_only=True):
    revision: Revision
    dataset: Dataset | None = None
    removed: str | None = None


class RemoveDatasetParameters(Message, frozen=True, kw_only=True):
    name: str
    purge: bool | None = None


CREATE_DATASET = Method("org.fluxgym.Datasets.Create", DatasetName, OneDataset)
LIST_DATASETS = Method("org.fluxgym.Datasets.List", ListDatasetsParameters, ListDatasetsReply, stream=True)
DESCRIBE_DATASET = Method("org.fluxgym.Datasets.Describe", DatasetName, DescribeDatasetReply)
ADD_PICTURES = Method("org.fluxgym.Datasets.Add", AddParameters, AddReply, stream=True)
PICTURES = Method("org.fluxgym.Datasets.Pictures", PicturesParameters, PicturesReply, stream=True)
CHANGE_PICTURES = Method("org.fluxgym.Datasets.Change", ChangeParameters, ChangeReply)
REPLACE_IN_CAPTIONS = Method("org.fluxgym.Datasets.Replace", ReplaceParameters, ReplaceReply)
UNDO = Method("org.fluxgym.Datasets.Undo", UndoParameters, UndoReply)
CHECK_DATASET = Method("org.fluxgym.Datasets.Check", CheckParameters, CheckReply)
THUMBNAIL = Method("org.fluxgym.Datasets.Thumbnail", ThumbnailParameters, ThumbnailReply)
WATCH_DATASETS = Method("org.fluxgym.Datasets.Watch", WatchDatasetsParameters, WatchDatasetsReply, stream=True)
REMOVE_DATASET = Method("org.fluxgym.Datasets.Remove", RemoveDatasetParameters, Nothing)
RESTORE_DATASET = Method("org.fluxgym.Datasets.Restore", DatasetName, OneDataset)
