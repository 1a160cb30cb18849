# SPDX-License-Identifier: Apache-2.0
"""Prints as JSON what the trainer makes of each command line that it is given as JSON on stdin: its options, and what
it trains.

    PYTHON ask_dataset.py sd-scripts

The trainer's Python runs it in a separate process. Loads no torch.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any


def main(trainer: Path, lines: list[list[str]]) -> None:
    sys.path.insert(0, str(trainer))
    print(json.dumps([told(words) for words in lines]))


def told(words: list[str]) -> dict[str, Any]:
    """Returns `problems`, or else the options and datasets as texts, and the pictures."""
    import dataclasses

    from library import families
    from library.check import data_check
    from library.errors import TrainerError
    from library.options import arguments

    line = arguments.read(words)
    if line.problems:
        return {"problems": [str(problem) for problem in line.problems]}
    try:
        data = data_check.check(line.options, families.of(line.options).cache_names)
    except TrainerError as error:
        return {"problems": [str(error)]}
    options = dataclasses.asdict(line.options) | {"named": None}
    return {
        "problems": [],
        "options": {name: repr(value) for name, value in options.items()},
        "datasets": repr(data.dataset.configs),
        "pictures": [trained(picture, data.dataset) for picture in data.dataset.pictures],
    }


def trained(picture: Any, found: Any) -> dict[str, Any]:
    """Returns one picture; `texts`: those that four of its uses have."""
    from library.data import captions

    place = captions.Place(epoch=1, step=0, total_steps=10)
    rules = picture.subset.captions
    return {
        "name": picture.path.name,
        "folder": picture.path.parent.name,
        "bucket": [picture.bucket.width, picture.bucket.height],
        "repeats": picture.repeats,
        "isReg": picture.subset.is_reg,
        "batchSize": found.configs[picture.dataset].batch_size,
        "moreLines": picture.more_lines,
        "text": picture.text,
        "texts": [captions.draw(picture.caption, rules, place, random.Random(seed)) for seed in range(4)],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.load(sys.stdin))
