# SPDX-License-Identifier: Apache-2.0
"""Every kind of file in a home and in the daemon's own folders, and what damage to it may change."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

JOB = "home/outputs/*/"
ATTEMPT = f"{JOB}attempts/*/"


@dataclass(frozen=True)
class Kind:
    """`pattern`: paths below the folder of a RunningDaemon."""

    pattern: str
    decides: bool = False
    """The state of its job, or the end of a running attempt, is read from it: after damage the job may be damaged or
    lost."""
    replaced: bool = False
    """The daemon, or the shim of a running attempt, rewrites it, so it is not evidence of anything."""
    of_job: bool = True


JOURNAL = Kind(f"{JOB}events.jsonl", decides=True)
DATASET = Kind("home/datasets/*/events.jsonl", of_job=False)
KINDS = (
    JOURNAL,
    Kind(f"{ATTEMPT}lock", decides=True, replaced=True),
    Kind(f"{ATTEMPT}shim.json", decides=True),
    Kind(f"{ATTEMPT}started.json", decides=True),
    Kind(f"{ATTEMPT}exit.json", decides=True),
    Kind(f"{ATTEMPT}command.txt"),
    Kind(f"{ATTEMPT}exit.json.new", decides=True, replaced=True),
    Kind(f"{JOB}ui_state.json", replaced=True),
    Kind(f"{JOB}monitor.pid", replaced=True),
    Kind(f"{JOB}monitor.log"),
    Kind(f"{JOB}training.log"),
    Kind(f"{JOB}metrics.jsonl"),
    Kind(f"{JOB}result.json"),
    Kind(f"{JOB}dataset.toml"),
    Kind(f"{JOB}sample_prompts.txt"),
    Kind(f"{JOB}dataset/*.txt"),
    Kind(f"{JOB}dataset/*.png"),
    Kind(f"{JOB}*-state/train_state.json"),
    Kind(f"{JOB}*-state/model.safetensors"),
    Kind(f"{JOB}*-state/*.bin"),
    Kind(f"{JOB}*-state/*.pkl"),
    Kind(f"{JOB}*.safetensors"),
    Kind(f"{JOB}sample/*.png"),
    DATASET,
    Kind("home/datasets/.store/*/*.png", of_job=False),
    Kind("home/owner.json", of_job=False, replaced=True),
    Kind("home/.lock", of_job=False, replaced=True),
    Kind("socket.lock", of_job=False, replaced=True),
    Kind("config/fluxgym/config.toml", of_job=False),
    Kind("state/fluxgym/machine/*.json", of_job=False, replaced=True),
)
NOT_DAMAGED = ("socket", "daemon.log", "gate", "starts/*", "*/.*.new")
"""Files that belong to the test, that are outside the home, or that are being written."""


def kind_of(path: str) -> Kind | None:
    """The kind of a file; None if it is never damaged. Raises an AssertionError if no kind is defined for it."""
    if any(fnmatchcase(path, pattern) for pattern in NOT_DAMAGED):
        return None
    for kind in KINDS:
        if fnmatchcase(path, kind.pattern) and path.count("/") == kind.pattern.count("/"):
            return kind
    raise AssertionError(f"{path} is of no kind that tests/fuzz/kinds.py knows")


def files(folder: Path) -> dict[str, Kind]:
    """All files that can be damaged, by path below the folder, in a fixed order."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_dir() and (kind := kind_of(name)) is not None:
            found[name] = kind
    return found


def job_of(path: str) -> str | None:
    parts = path.split("/")
    return parts[2] if parts[:2] == ["home", "outputs"] else None
