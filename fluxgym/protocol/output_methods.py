# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs about what a job has written (see methods.py)."""

from fluxgym.protocol.messages import Message
from fluxgym.protocol.methods import JobName, Method
from fluxgym.protocol.output_messages import JobFile, LogMatch, Measurements, Sample


class FilesReply(Message, frozen=True, kw_only=True):
    files: list[JobFile]


class SamplesReply(Message, frozen=True, kw_only=True):
    samples: list[Sample]


class ThumbnailOfJobParameters(Message, frozen=True, kw_only=True):
    name: str
    file: str
    size: int | None = None


class ThumbnailOfJobReply(Message, frozen=True, kw_only=True):
    path: str


class MetricsParameters(Message, frozen=True, kw_only=True):
    name: str
    after: str | None = None
    points: int | None = None
    follow: bool | None = None


class MetricsReply(Message, frozen=True, kw_only=True):
    metrics: Measurements
    cursor: str
    reset: bool | None = None


class SearchLogParameters(Message, frozen=True, kw_only=True):
    name: str
    text: str
    regex: bool | None = None
    after: int | None = None


class SearchLogReply(Message, frozen=True, kw_only=True):
    match: LogMatch | None = None


FILES = Method("org.fluxgym.Jobs.Files", JobName, FilesReply)
SAMPLES = Method("org.fluxgym.Jobs.Samples", JobName, SamplesReply)
THUMBNAIL_OF_JOB = Method("org.fluxgym.Jobs.Thumbnail", ThumbnailOfJobParameters, ThumbnailOfJobReply)
METRICS = Method("org.fluxgym.Jobs.Metrics", MetricsParameters, MetricsReply, stream=True)
SEARCH_LOG = Method("org.fluxgym.Jobs.SearchLog", SearchLogParameters, SearchLogReply, stream=True)
