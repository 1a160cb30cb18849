# SPDX-License-Identifier: Apache-2.0
"""Opens one picture of a dataset, and says in a sentence why it cannot be trained on."""

from pathlib import Path

from fluxgymd.pictures import reading
from fluxgymd.pictures.files import not_a_file, reason
from fluxgymd.pictures.reading import Unreadable
from fluxgymd.snapshots.contents import Unfit


def check(path: Path) -> bool:
    """Decodes the entire picture. Returns whether it is animated. Unfit if it cannot be read."""
    problem = not_a_file(path)
    if problem:
        raise Unfit(path, f"The picture {path} {problem}.")
    try:
        with path.open("rb") as file, reading.open_picture(file) as image:
            reading.decode(image)
            return reading.is_animated(image)
    except Unreadable as error:
        raise Unfit(path, f"The picture {path} {error}.") from None
    except OSError as error:
        raise Unfit(path, f"The picture {path} cannot be read: {reason(error)}.") from None
