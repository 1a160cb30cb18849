# SPDX-License-Identifier: Apache-2.0
"""Objects as the daemon sends them, for tests of what the client shows of them."""

from typing import Any

import msgspec

from fluxgym.protocol.messages import Job

NOW = 1_700_000_000.0


def job(name: str = "a", **runtime: Any) -> Job:
    """A running job. `runtime`: fields of its runtime to set, by their names on the wire."""
    facts = {"id": "1", "state": "running", "submittedAt": NOW - 60, "home": "/h/a", "stepsLost": 0, **runtime}
    return msgspec.convert({"context": {"name": name}, "runtime": facts}, Job)


def progress(**facts: Any) -> dict[str, Any]:
    return {"phase": "training", "updatedAt": NOW, **facts}


def gpu(**facts: Any) -> dict[str, Any]:
    """A GPU that is working. `facts`: values to set, by their names on the wire."""
    works = {"utilization": 93, "temperature": 71, "powerDraw": 279.6, "powerLimit": 450.0}
    memory = {"memoryUsed": 20 << 30, "memoryTotal": 24 << 30}
    return {"index": 0, "uuid": "GPU-a", **memory, **works, "lost": False, **facts}


def attempt(**facts: Any) -> dict[str, Any]:
    return {"number": 1, "adapter": "scope", "unit": "u.scope", "gpus": [], "startedAt": NOW - 50, **facts}
