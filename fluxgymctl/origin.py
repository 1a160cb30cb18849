# SPDX-License-Identifier: Apache-2.0
"""The checkpoint with which a job begins, as it is written in a flag and in a spec file. Pure."""

from typing import Any

from fluxgym.protocol.messages import ResumeFrom

FORM = "JOB[:CHECKPOINT]"
RIGHT = f'a text in quotes, "{FORM}"'


def from_text(text: str) -> ResumeFrom:
    """The checkpoint in a flag. ValueError if the text is wrong."""
    job, separator, checkpoint = text.partition(":")
    if not job or (separator and not checkpoint):
        raise ValueError
    return ResumeFrom(job=job, checkpoint=checkpoint or None)


def from_toml(value: Any) -> ResumeFrom:
    """The checkpoint in a spec file. ValueError if it is wrong."""
    if not isinstance(value, str):
        raise ValueError
    return from_text(value)
