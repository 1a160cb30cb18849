# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs about what a job has written (see methods.py)."""

from fluxgym.messages import Message
from fluxgym.methods import JobName, Method
from fluxgym.output_messages import JobFile, Sample


class FilesReply(Message, frozen=True, kw_only=True):
    files: list[JobFile]


class SamplesReply(Message, frozen=True, kw_only=True):
    samples: list[Sample]


FILES = Method("org.fluxgym.Jobs.Files", JobName, FilesReply)
SAMPLES = Method("org.fluxgym.Jobs.Samples", JobName, SamplesReply)
