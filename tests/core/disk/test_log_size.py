# SPDX-License-Identifier: Apache-2.0
"""The sentence in Health about a log that takes too much disk space."""

import pytest

from fluxgymd.core.disk.log_size import MIB, LogSize, problem

CUT = "The log of my-lora has grown to 3000 MiB, beyond log.limit_mib; 2232 MiB were dropped from its middle."
WHOLE = (
    "The log of my-lora has grown to 2000 MiB, beyond log.limit_mib, but its middle was not dropped: the file system "
    "cannot punch holes, or the process that trims the log is gone or is of an earlier version."
)


@pytest.mark.parametrize(
    ("size", "taken", "missing", "sentence"),
    [
        (0, 0, 0, None),
        (1024, 1024, 0, None),
        (1280, 1280, 0, None),
        (3000, 768, 2232, CUT),
        (3000, 2000, 0, WHOLE),
        (3000, 1000, 0, None),  # a file system that compresses: the log takes less than the limit
    ],
)
def test_a_log_is_named_once_it_takes_too_much(size: int, taken: int, missing: int, sentence: str | None) -> None:
    log = LogSize(size=size * MIB, taken=taken * MIB, missing=missing * MIB)
    assert problem("my-lora", log, limit=1024 * MIB) == sentence
