# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint of another job a new one starts from, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import ResumeFrom
from fluxgymd.core.resume import CheckpointFacts, Use
from fluxgymd.requests.origins import chosen, more_epochs, same, take
from fluxgymd.run.resuming import Origin


def origin(name: str, epoch: int | None, **changes: Any) -> Origin:
    values: dict[str, Any] = {"problem": None, "size": 1, "created_at": 0.0, "step": None, **changes}
    return Origin(
        path=Path("/home/outputs/cat") / name,
        facts=CheckpointFacts(name=name.replace("cat", "dog"), epoch=epoch, **values),
    )


OLD, NEW = origin("cat-000004-state", 4), origin("cat-000008-state", 8)
TORN = origin("cat-000012-state", 12, problem="optimizer.bin is missing")
FOREIGN = origin("cat-000016-state", 16, use=Use.PASS_OVER, refusal="Only from the end of an epoch.")
ALL = [OLD, FOREIGN, NEW, TORN]


def test_the_newest_usable_checkpoint_is_taken_unless_another_is_named() -> None:
    assert chosen(ALL, ResumeFrom(job="cat")) is NEW
    assert chosen(ALL, ResumeFrom(job="cat", checkpoint="cat-000004-state")) is OLD


@pytest.mark.parametrize(
    ("found", "checkpoint", "why"),
    [
        (ALL, "cat-000099-state", "The job cat has no checkpoint cat-000099-state; `fluxgymctl checkpoints cat`"),
        (ALL, "../dog/dog-state", "The job cat has no checkpoint ../dog/dog-state"),
        (ALL, "cat-000012-state", "cannot be used: optimizer.bin is missing."),
        (ALL, "cat-000016-state", "Only from the end of an epoch."),
        ([FOREIGN, TORN], None, "Only from the end of an epoch."),
        ([TORN], None, "The job cat has no complete checkpoint to begin with."),
        ([], None, "The job cat has no complete checkpoint to begin with."),
    ],
)
def test_an_unusable_checkpoint_is_refused(found: list[Origin], checkpoint: str | None, why: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        chosen(found, ResumeFrom(job="cat", checkpoint=checkpoint))
    assert why in caught.value.message


def test_more_epochs_count_from_the_checkpoint() -> None:
    assert more_epochs(NEW.facts, 4) == 12
    for facts, more in ((NEW.facts, 0), (origin("cat-state", None).facts, 4)):
        with pytest.raises(InvalidSetting):
            more_epochs(facts, more)


def test_the_same_checkpoint_may_be_given_again_with_or_without_its_name() -> None:
    recorded = ResumeFrom(job="cat", checkpoint="a")
    assert same(ResumeFrom(job="cat"), recorded)
    assert same(recorded, recorded)
    assert not same(ResumeFrom(job="cat", checkpoint="b"), recorded)
    assert not same(ResumeFrom(job="dog"), recorded)


def test_a_checkpoint_that_was_deleted_since_it_was_chosen_is_named(tmp_path: Path) -> None:
    gone = replace(OLD, path=tmp_path / "cat-000004-state")
    (tmp_path / "dog").mkdir()
    with pytest.raises(InvalidSetting) as caught:
        take(gone, tmp_path / "dog")
    assert caught.value.message == "The checkpoint cat-000004-state has just been deleted; choose another one."
