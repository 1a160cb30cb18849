# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a file of a home, the daemon starts, all other jobs are unchanged, and the damaged file is
kept. `./dev soak damages` draws more."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fluxgym.protocol.messages import Exit, ExitKind, State
from tests.daemon.running import program
from tests.fuzz import damaged, material
from tests.fuzz.kinds import KINDS, files, job_of, kind_of
from tests.fuzz.ways import WAYS, Way
from tests.harness.waiting import until

SEED = 1
DAMAGES = 10


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    material.make(folder)
    yield folder
    shutil.rmtree(folder)


def test_promise_8_damage_to_any_file_affects_only_one_job(template: Path, folder: Path) -> None:
    told: list[str] = []
    damaged.Group(folder, template).play([Random(f"{SEED} {number}") for number in range(DAMAGES)], told.append)
    assert len(told) == DAMAGES


def test_every_file_of_a_home_has_a_kind_and_every_kind_occurs(template: Path, folder: Path) -> None:
    """If you add a file to a home, say in kinds.py what damage to it may change."""
    material.copy(template, folder)
    with material.shut_gate(folder), material.daemon_in(folder) as daemon:
        daemon.submit(program("running-0", material.SCRIPT))
        daemon.wait("running-0", State.RUNNING)
        until((daemon.folder("running-0") / "monitor.pid").exists, what="its files")
        found = files(folder)
    assert set(found.values()) == set(KINDS)
    assert all(job_of(path) is not None for path, kind in found.items() if kind.of_job)


def test_a_file_without_a_description_is_found() -> None:
    with pytest.raises(AssertionError, match=r"home/outputs/a/new\.json is of no kind"):
        kind_of("home/outputs/a/new.json")
    assert kind_of("starts/running-0") is None


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_way_damages_its_file_and_no_other(way: Way, tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"file-{number}"
        path.write_text('{"a":[1,{"b":"c"}],"d":7}\n{"e":null}\n')
        way.do(path, Random(number))
        assert path.is_symlink() or path.exists()
    assert len(list(tmp_path.iterdir())) == 20


def test_an_exit_that_did_not_happen_counts_as_invented() -> None:
    assert damaged.is_true(Exit(kind=ExitKind.EXITED, code=material.STATUS, term_seen=False), "running-0")
    assert damaged.is_true(Exit(kind=ExitKind.UNKNOWN, term_seen=False), "completed-1")
    assert damaged.is_true(None, "completed-1")
    assert not damaged.is_true(Exit(kind=ExitKind.EXITED, code=0, term_seen=False), "running-0")
    assert not damaged.is_true(Exit(kind=ExitKind.SIGNALED, signal=9, term_seen=False), "completed-1")


@pytest.mark.parametrize(
    ("content", "broken"),
    [
        (b'{"a":1}\n{"b":2}\n', False),
        (b'{"a":1}\n{"b":2', False),
        (b'{"a":1}\n{"b\0\0\0\n', False),
        (b'{"a\0\0\n{"b":2}\n', True),
        (b'{"a":1}\n{"b"\n', True),
    ],
)
def test_a_bad_line_is_distinguished_from_a_torn_end(content: bytes, *, broken: bool) -> None:
    damage = damaged.Damage("home/outputs/a/events.jsonl", KINDS[0], WAYS[0], content)
    assert damaged.is_broken(damage) is broken
