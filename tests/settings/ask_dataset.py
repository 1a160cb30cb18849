# SPDX-License-Identifier: Apache-2.0
"""Prints as JSON what the trainer trains with each dataset.toml that it is given.

    PYTHON ask_dataset.py sd-scripts FILE...

The trainer's Python runs it in a separate process. Loads no torch.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any


def main(trainer: Path, files: list[Path]) -> None:
    sys.path.insert(0, str(trainer))
    from library.data import dataset_config

    print(json.dumps([told(dataset_config.read(file, defaults={})) for file in files]))


def told(configs: Any) -> list[dict[str, Any]]:
    """Returns the pictures in the order of their names; `texts`: those that four of their uses may have."""
    from library.data import captions, dataset

    place = captions.Place(epoch=1, step=0, total_steps=10)
    found = dataset.balanced(dataset.find(configs))
    return [
        {
            "name": picture.path.name,
            "bucket": [picture.bucket.width, picture.bucket.height],
            "repeats": picture.repeats,
            "batchSize": found.configs[picture.dataset].batch_size,
            "moreLines": picture.more_lines,
            "text": picture.text,
            "texts": [
                captions.draw(picture.caption, picture.subset.captions, place, random.Random(seed))
                for seed in range(4)
            ],
        }
        for picture in found.pictures
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
