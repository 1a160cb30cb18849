# SPDX-License-Identifier: Apache-2.0
"""Homes with the journals of jobs, and their registry."""

from __future__ import annotations

from pathlib import Path

from fluxgymd.core.journal import events as e
from fluxgymd.jobs.registry import Registry
from fluxgymd.store.home import Home
from fluxgymd.store.writer import Writer
from tests.core import histories as h


def put(home: Path, name: str, lines: list[bytes]) -> Path:
    """Makes the job's folder with this journal and returns the journal's path."""
    folder = home / "outputs" / name
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    return folder / "events.jsonl"


def encoded(name: str, history: list[e.AnyEvent]) -> list[bytes]:
    return [e.encode(h.submitted(name=name) if isinstance(event, e.Submitted) else event) for event in history]


def load(home: Path) -> Registry:
    registry = Registry(Home(home), Writer())
    registry.load()
    return registry
