# SPDX-License-Identifier: Apache-2.0
"""Checks whether --output_dir can be written and accepts the names of all files. Writes nothing, imports no torch."""

from __future__ import annotations

import errno
import os

from library.errors import TrainerError
from library.options.options import Options
from library.output import names
from library.output.names import Moment


def check(options: Options) -> None:
    """Raises TrainerError if --output_dir certainly cannot be created or written, or if names in it would be too
    long. Writes nothing."""
    folder = options.output_dir.absolute()
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise cannot_be_written(options, errno.ENOTDIR)
    if not os.access(there, os.W_OK | os.X_OK):
        raise cannot_be_written(options, errno.EACCES)
    files = [names.average_name(options, Moment(step=0)), names.state_name(options, Moment(step=0))]
    if options.sample_prompts is not None:
        files.append(names.sample_name(options, epoch=0, step=0, index=0, date="0" * 14, seed=2**63 - 1))
    longest = max(len(os.fsencode(f"{name}.tmp")) for name in files)
    most = os.pathconf(there, "PC_NAME_MAX")
    if longest > most:
        raise TrainerError(
            f"--output_name is too long: file names would have up to {longest} bytes, but {folder} allows {most}; "
            f"make it {longest - most} bytes shorter"
        )


def cannot_be_written(options: Options, number: int | None) -> TrainerError:
    why = os.strerror(number) if number else "it does not exist"
    return TrainerError(f"--output_dir: {options.output_dir} cannot be written: {why}", kind="output")
