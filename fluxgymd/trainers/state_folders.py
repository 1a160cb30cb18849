# SPDX-License-Identifier: Apache-2.0
"""The states in a job's folder, each with what is wrong with it.

A state is judged by cheap structural checks with bounded reads: its files, the counters, the safetensors header, the
ZIP directories. A header larger than usual is read by a separate program. Nothing is unpickled and no tensor is read:
the trainer says whether a state is damaged deeper inside, or does not fit the settings (port.py). Our trainer writes
a state under another name and renames it when it is complete, so it cannot be half-written; sd-scripts writes in
place.
"""

import functools
import re
import stat
from contextlib import suppress
from os import scandir
from pathlib import Path

import msgspec

from fluxgym.files import Unusable, read_file
from fluxgymd.core.journal.decoding import Count, decode
from fluxgymd.core.resume import CheckpointFacts
from fluxgymd.store.formats import safetensors_header, zip_file
from fluxgymd.trainers import states
from fluxgymd.trainers.states import StateWriter

WEIGHTS = "model.safetensors"
PICKLES = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl")
COUNTERS_BYTES = 1 << 20
"""The largest train_state.json that is read; it usually has a few hundred bytes."""
OUR_FORMAT = "fluxgym-"
"""The beginning of `format` in a train_state.json that our trainer wrote; sd-scripts writes no such key."""
EVER = 10**9
"""Stands for the planned number of epochs where it is not known."""


class TrainState(msgspec.Struct, frozen=True):
    """The fields of train_state.json that both trainers write, and `format`, which marks our trainer's."""

    current_epoch: Count
    current_step: Count
    format: str = ""

    @property
    def writer(self) -> StateWriter:
        return StateWriter.OURS if self.format.startswith(OUR_FORMAT) else StateWriter.SD_SCRIPTS


def scan(
    folder: Path,
    output_name: str,
    *,
    reader: StateWriter = StateWriter.OURS,
    epochs: int = EVER,
    steps_per_epoch: int | None = None,
) -> list[CheckpointFacts]:
    """All states in a job's folder, including those that were set aside. If the power failed while a state was being
    replaced, the old one is still there as `NAME.old`; it counts if NAME is missing.

    `reader`: the trainer that would resume. `epochs`: planned in total. `steps_per_epoch`: with the job's dataset as
    it is now; needed for the true step of sd-scripts' states.
    """
    try:
        with scandir(folder) as entries:
            names = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        replaced = name.endswith(".old") and name.removesuffix(".old") in names
        if states.is_state_folder(name, output_name) and not replaced:
            # The trainer may delete old states in the meantime.
            with suppress(FileNotFoundError):
                found.append(_facts(folder / name, name, reader, epochs, steps_per_epoch))
    return found


def as_named(
    path: Path, name: str, *, reader: StateWriter, epochs: int, steps_per_epoch: int | None
) -> CheckpointFacts:
    """A state as if its folder were named `name` (see `scan`). OSError if it was deleted."""
    return _facts(path, name, reader, epochs, steps_per_epoch)


def unfinished(folder: Path, output_name: str) -> list[Path]:
    """Folders that our trainer was writing or deleting when it was killed. Their names end in .tmp: they are not
    states."""
    try:
        with scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".tmp")]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if states.is_state_folder(name.removesuffix(".tmp"), output_name)]


def _facts(path: Path, name: str, reader: StateWriter, epochs: int, steps_per_epoch: int | None) -> CheckpointFacts:
    state, problem, unreadable = None, None, False
    try:
        state, problem = _inspect(path)
    except OSError as error:
        path.stat()  # raises FileNotFoundError if the state itself was deleted
        problem, unreadable = f"it cannot be read: {error.strerror or error}", True
    writer = state.writer if state else reader
    if problem is None and re.search(r"\.broken-\d+$", name):
        problem = "it was set aside as broken but is complete now; rename it to use it again"
    named = states.epoch_in_name(name)
    step = None
    if state is not None:
        step = states.true_step(
            writer=writer,
            name=name,
            told_epoch=state.current_epoch,
            told_step=state.current_step,
            steps_per_epoch=steps_per_epoch,
        )
    use, refusal = states.use(name, writer=writer, reader=reader, epochs=epochs)
    return CheckpointFacts(
        name=name,
        epoch=named if named is not None else (state.current_epoch if state else None),
        step=step,
        problem=problem,
        size=_size(path),
        created_at=path.stat().st_mtime,
        unreadable=unreadable,
        use=use,
        refusal=refusal,
        pruned=states.is_pruned(name, writer=writer, reader=reader),
        epoch_ended=named is not None or states.is_final(name),
        final=states.is_final(name),
    )


def _size(path: Path) -> int:
    with scandir(path) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def _inspect(path: Path) -> tuple[TrainState | None, str | None]:
    """The counters, if they can be read, and a clause that says what is wrong, if anything. OSError if the disk does
    not answer."""
    try:
        state = decode(read_file(path / "train_state.json", most=COUNTERS_BYTES), TrainState)
    except FileNotFoundError:
        return None, "train_state.json is missing"
    except Unusable as error:
        return None, f"train_state.json cannot be read: {error.strerror}"
    except msgspec.MsgspecError as error:
        return None, f"train_state.json cannot be read: {error}"
    return state, _fault(path)


def _fault(path: Path) -> str | None:
    for name in (WEIGHTS, *PICKLES):
        try:
            facts = (path / name).stat()
            if not stat.S_ISREG(facts.st_mode):
                return f"{name} is not a regular file"
            if facts.st_size == 0:
                return f"{name} is empty"
        except FileNotFoundError:
            return f"{name} is missing"
    try:
        safetensors_header.check(path / WEIGHTS)
    except safetensors_header.NotSafetensors as error:
        return str(error)
    for name in PICKLES:
        facts = (path / name).stat()
        fault = _pickle_fault(path / name, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if fault is not None:
            return fault
    return None


@functools.lru_cache(maxsize=128)
def _pickle_fault(path: Path, _inode: int, _size: int, _modified_ns: int) -> str | None:
    """What is wrong with a pickle file; None if it is complete. Cached per version of the file, since a stop that
    waits for a checkpoint looks every second."""
    return None if zip_file.is_whole(path) else f"{path.name} is damaged or was not written by torch.save"
