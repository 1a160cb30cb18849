# SPDX-License-Identifier: Apache-2.0
"""Which events are news for a person who is away, and which are not."""

import pytest

from fluxgymd.core.job import fold
from fluxgymd.core.journal.events import AnyEvent
from fluxgymd.core.news import news
from tests.core import histories as h

RUN = h.WAYS["running"]


def told(*history: AnyEvent) -> tuple[str, str] | None:
    found = news(fold(history), history[-1])
    return None if found is None else (found.event, found.text)


@pytest.mark.parametrize(
    ("history", "event", "text"),
    [
        ([*RUN, h.ended("completed")], "finish", "my-lora finished successfully."),
        ([*RUN, h.ended("failed")], "fail", "my-lora failed. It is failed."),
        ([h.submitted(), h.BARRED], "fail", "my-lora failed. Its checkpoint does not fit its settings."),
        (
            [*RUN, h.ended("interrupted", again=False)],
            "fail",
            "my-lora was interrupted. It is interrupted. It stays on hold until it is released.",
        ),
        (
            [*RUN, h.sight_lost()],
            "lost",
            "my-lora is lost. Its supervisor is gone. Its GPU stays reserved until contact is restored.",
        ),
        ([*RUN, h.stuck()], "stuck", "my-lora is stuck. Nothing moved for 600 s. It is being stopped."),
        ([*RUN, h.stuck(acts=False)], "stuck", "my-lora is stuck. Nothing moved for 600 s. It is left running."),
    ],
)
def test_an_event_becomes_a_piece_of_news(history: list[AnyEvent], event: str, text: str) -> None:
    assert told(*history) == (event, text)


@pytest.mark.parametrize(
    "history",
    [
        [h.submitted()],
        RUN,
        [*RUN, h.ended("interrupted")],
        [*RUN, h.ended("failed", again=True)],
        [*RUN, h.ended("stopped")],
        [*RUN, h.ended("never_started")],
        [*RUN, h.unsupervised()],
        [*RUN, h.sight_lost(), h.sight_regained()],
        [h.submitted(), h.CANCELLED],
        [*RUN, h.ended("failed"), h.EDITED],
    ],
    ids=lambda history: history[-1].__struct_config__.tag,
)
def test_what_the_user_asked_for_and_what_continues_automatically_is_not_news(history: list[AnyEvent]) -> None:
    assert told(*history) is None
