# SPDX-License-Identifier: Apache-2.0
"""The changes of a dataset as sentences."""

import pytest

from fluxgym.protocol.dataset_messages import Crop, DatasetChangeKind
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import fold
from fluxgymd.core.datasets.words import kind_of, sentence
from tests.core.datasets.histories import added, created, edited, undone

CROP = Crop(left=0, top=0, width=9, height=9)
BOTH = (e.Edit(picture="a.png", caption="x"), e.Edit(picture="b.png", crop=CROP))
KIND = DatasetChangeKind


@pytest.mark.parametrize(
    ("event", "kind", "said"),
    [
        (added("c.png"), KIND.ADDED, "c.png was added."),
        (added("c.png", "d.png"), KIND.ADDED, "2 pictures were added."),
        (edited("a.png", caption="x"), KIND.EDITED, "The caption of a.png was changed."),
        (edited("a.png", caption="x", crop=CROP), KIND.EDITED, "The caption and crop of a.png were changed."),
        (e.Edited(at=1.0, edits=BOTH), KIND.EDITED, "The captions and crops of 2 pictures were changed."),
        (edited("a.png", used=False), KIND.EDITED, "a.png is no longer used."),
        (edited("a.png", used=True), KIND.EDITED, "a.png is used again."),
        (
            e.Edited(at=1.0, edits=BOTH[:1], found="cat"),
            KIND.REPLACED,
            "'cat' was replaced in the caption of a.png.",
        ),
        (
            e.Edited(at=1.0, edits=BOTH[:1], found="x" * 1000),
            KIND.REPLACED,
            f"'{'x' * 160}…' was replaced in the caption of a.png.",
        ),
        (undone(2), KIND.UNDONE, "Change 2 was undone."),
    ],
)
def test_sentences(event: e.AnyEvent, kind: DatasetChangeKind, said: str) -> None:
    first, *_, last = fold([created(), added("a.png", "b.png"), event]).changes
    assert (kind_of(last), sentence(last)) == (kind, said)
    assert (kind_of(first), sentence(first)) == (KIND.CREATED, "The dataset was created.")
