# SPDX-License-Identifier: Apache-2.0
"""Jobs on one dataset encode each picture and each caption once, with a real daemon and the real trainer."""

from __future__ import annotations

from pathlib import Path

from fluxgym.protocol import methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from fluxgymctl.prose import plan_page
from fluxgymd.store.caches import shared_caches
from tests.daemon.running import DONE, RunningDaemon, context, program, tensors, whole_lines
from tests.fluxgymctl.program import ctl


def test_the_second_job_encodes_nothing(folder: Path, model: Path) -> None:
    """The first job keeps its caches, so that the limit does not concern these. (tests/daemon/plans/ changes a
    caption.) A program may train on a user's own pictures, whose caches must stay the user's."""
    limit = {"FLUXGYM_TRAINER_SHARED_CACHE_GIB": "0"}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=limit) as daemon:
        dataset("create", "signs", daemon=daemon)
        dataset("add", "signs", str(model / "pictures"), daemon=daemon)
        assert train("first", daemon, model) == (8, 8, 16)
        (unused := shared_caches.folder(daemon.home) / "unused.npz").write_bytes(b"x")
        assert train("second", daemon, model) == (0, 0, 0)
        assert not unused.exists()
        first, second = (tensors(daemon.folder(name) / f"{name}.safetensors") for name in ("first", "second"))
        assert second == first
        daemon.submit(program("program", f"/usr/bin/env >environment; {DONE}"))
        daemon.wait("program", State.COMPLETED)
        assert "FLUXGYM_CACHES" not in (daemon.folder("program") / "environment").read_text()


def dataset(*words: str, daemon: RunningDaemon) -> None:
    done = ctl("dataset", *words, socket=daemon.socket)
    assert done.returncode == 0, done.stderr


def train(name: str, daemon: RunningDaemon, model: Path) -> tuple[int, int, int]:
    """Trains on the dataset. Returns how many latents and texts the plan said would be encoded, and how many of both
    the training encoded."""
    job = context(name, model, dataset="signs", repeats=1, epochs=1)
    with Connection(daemon.socket) as connection:
        training = plan_page.gathered(connection.stream(m.PLAN, m.SubmitParameters(job=job))).plan.training
    assert training is not None
    daemon.submit(job)
    daemon.wait(name, State.COMPLETED)
    lines = whole_lines(daemon.folder(name) / "metrics.jsonl")
    encoded = max((line["total"] for line in lines if line["phase"] == "caching" and "total" in line), default=0)
    return training.latents_to_encode, training.texts_to_encode, encoded
