# SPDX-License-Identifier: Apache-2.0
"""Parses the checkpoint that a job starts from, as written in a flag or a spec file. Pure."""

from typing import Any

from fluxgym.protocol.messages import ResumeFrom

FORM = "JOB[:CHECKPOINT]"
RIGHT = f'a text in quotes, "{FORM}"'


def from_text(text: str) -> ResumeFrom:
    """The checkpoint in a flag. ValueError if the text is invalid."""
    job, separator, checkpoint = text.partition(":")
    if not job or (separator and not checkpoint):
        raise ValueError
    return ResumeFrom(job=job, checkpoint=checkpoint or None)


def from_toml(value: Any) -> ResumeFrom:
    """The checkpoint in a spec file. ValueError if it is invalid."""
    if not isinstance(value, str):
        raise ValueError
    return from_text(value)
