# SPDX-License-Identifier: Apache-2.0
"""Random messages to a real daemon, one conversation after another (`./dev soak messages`)."""

from __future__ import annotations

import random
import sys
import traceback

from tests.fuzz.attacked import Attacked
from tests.fuzz.messages import Conversation, draw
from tests.fuzz.shrinking import shrink

CHECKED = 1000
"""Number of messages between two checks of the daemon and its home."""


def soak(seed: int, numbers: range) -> list[int]:
    """Returns the numbers of conversations that failed, or that were the last one before a check failed. A
    conversation has the number of its first message. After a failure, a new daemon gets the remaining messages."""
    failed = []
    number = numbers.start
    while number < numbers.stop:
        with Attacked() as attacked:
            checked = number
            try:
                while number < numbers.stop:
                    conversation = draw(random.Random(f"{seed} {number}"))
                    began, number = number, number + len(conversation.messages)
                    attacked.take(conversation)
                    if number - checked >= CHECKED:
                        attacked.check()
                        checked = number
                        print(f"up to {number}: the daemon has {attacked.rss / 1e6:.1f} MB", flush=True)
                served = attacked.finish()
                assert served.report(), "the honest client had to wait"
            except Exception:  # noqa: BLE001 - any exception is what the soak looks for
                failed.append(began)
                print(f"messages {checked} to {number} of seed {seed} FAILED at {began}", file=sys.stderr)
                print(traceback.format_exc(), file=sys.stderr)
                print(f"shrunk to {shrink(conversation, fails)}", file=sys.stderr, flush=True)
    return failed


def fails(conversation: Conversation) -> bool:
    """Whether the conversation fails with a daemon of its own."""
    try:
        with Attacked() as attacked:
            attacked.take(conversation)
            attacked.check()
    except Exception:  # noqa: BLE001 - as above
        return True
    return False
