# SPDX-License-Identifier: Apache-2.0
"""What happens to a job's files before an attempt: which are chosen, set aside, deleted, refused or left alone."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import StorageFailed
from fluxgym.protocol.messages import Context, Model
from fluxgymd.core.resume import GoOn
from fluxgymd.run import resuming
from fluxgymd.run.resuming import Beginning, Outlook
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.port import Trainer
from tests.core.histories import CONTEXT
from tests.store.files import BLOCKS, CLIP, lora, model, our_state, write_state
from tests.trainers.adapters import NOWHERE, trainers
from tests.trainers.plans import plan
from tests.trainers.talking import TalkingTrainer, problem

SD_SCRIPTS = Path(__file__).parents[1] / "daemon" / "sd_scripts"

WEIGHTS = lora(BLOCKS | CLIP, rank=4, alpha=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """A job with five pictures; with two repeats, an epoch has 10 steps."""
    folder = JobFolder(tmp_path / "my-lora")
    folder.dataset.mkdir(parents=True)
    for number in range(5):
        (folder.dataset / f"{number}.png").touch()
        (folder.dataset / f"{number}.txt").touch()
    return folder


@pytest.fixture
def context(tmp_path: Path) -> Context:
    files = {"transformer": BLOCKS, "clip_l": CLIP, "t5xxl": CLIP, "autoencoder": CLIP}
    for name, modules in files.items():
        (tmp_path / name).write_bytes(model(modules))
    paths = Model(**{name: str(tmp_path / name) for name in files})
    return msgspec.structs.replace(CONTEXT, model=paths, repeats=2, keep_states=3)


def ours(folder: JobFolder, *names: str) -> None:
    """Writes states as our trainer does. `4`: after epoch 4, of 10 steps each; `s45`: after step 45."""
    for name in names:
        step = int(name[1:]) if name[0] == "s" else int(name) * 10
        moment = f"step{step:08d}" if name[0] == "s" else f"{int(name):06d}"
        our_state(folder.path / f"my-lora-{moment}-state", epoch=-(-step // 10), step=step, weights=WEIGHTS)


def states(folder: JobFolder) -> list[str]:
    return sorted(path.name.removeprefix("my-lora-") for path in folder.path.glob("*-state*"))


def look(context: Context, folder: JobFolder, path: Path = NOWHERE, **changes: Any) -> Outlook:
    changed = msgspec.structs.replace(context, **changes)
    return asyncio.run(resuming.look(adapter(path), changed, folder, pictures=(folder.dataset,)))


def prepare(context: Context, folder: JobFolder, path: Path = NOWHERE, **changes: Any) -> Beginning:
    outlook = look(context, folder, path, **changes)
    return resuming.prepare(adapter(path), msgspec.structs.replace(context, **changes), folder, outlook)


def adapter(path: Path) -> Trainer:
    return trainers(path, python=Path(sys.executable)).of(CONTEXT)


def test_a_first_attempt_starts_from_scratch(context: Context, folder: JobFolder) -> None:
    begin = prepare(context, folder)
    assert (begin.resumed_from, begin.step, begin.set_aside, begin.notes) == (None, 0, (), ())


def test_promise_5_the_furthest_complete_state_is_taken_and_never_the_one_touched_last(
    context: Context, folder: JobFolder
) -> None:
    ours(folder, "8", "s45", "4")
    os.utime(folder.path / "my-lora-000008-state", (1, 1))
    begin = prepare(context, folder)
    assert (begin.resumed_from, begin.step) == ("my-lora-000008-state", 80)


def test_promise_5_broken_states_are_quarantined_named_and_kept(context: Context, folder: JobFolder) -> None:
    ours(folder, "4", "8", "12")
    torn = folder.path / "my-lora-000012-state" / "optimizer.bin"
    torn.write_bytes(torn.read_bytes()[:-200])
    (folder.path / "my-lora-000008-state" / "model.safetensors").unlink()
    begin = prepare(context, folder)
    assert (begin.resumed_from, begin.step) == ("my-lora-000004-state", 40)
    assert begin.set_aside == ("my-lora-000008-state.broken-1", "my-lora-000012-state.broken-1")
    assert begin.notes == (
        (
            "the checkpoint my-lora-000008-state is broken and was set aside as my-lora-000008-state.broken-1: "
            "model.safetensors is missing"
        ),
        (
            "the checkpoint my-lora-000012-state is broken and was set aside as my-lora-000012-state.broken-1: "
            "optimizer.bin is damaged or was not written by torch.save"
        ),
    )
    # Once more, after the trainer came that far again and was again killed while saving.
    ours(folder, "8")
    (folder.path / "my-lora-000008-state" / "scheduler.bin").unlink()
    assert prepare(context, folder).set_aside == ("my-lora-000008-state.broken-2",)
    assert states(folder) == [
        *("000004-state", "000008-state.broken-1", "000008-state.broken-2", "000012-state.broken-1")
    ]
    assert {facts.name for facts in adapter(NOWHERE).checkpoints(context, folder) if not facts.complete} == {
        f"my-lora-{name}" for name in states(folder)[1:]
    }


def test_promise_5_an_unreadable_state_on_a_failing_disk_is_waited_for(context: Context, folder: JobFolder) -> None:
    """A read error of a network volume must not cost training time, so FluxGym does not fall back to an older
    state."""
    ours(folder, "4", "8")
    file = folder.path / "my-lora-000008-state" / "optimizer.bin"
    whole = file.read_bytes()
    file.unlink()
    file.symlink_to(file.name)  # ELOOP is the only read error that root can get without a broken disk
    before = states(folder)
    with pytest.raises(StorageFailed) as refusal:
        prepare(context, folder)
    assert refusal.value.message == (
        "The checkpoint my-lora-000008-state is needed, but it cannot be read: Too many levels of symbolic links."
    )
    assert states(folder) == before
    file.unlink()
    file.write_bytes(whole)
    assert prepare(context, folder).step == 80


@pytest.fixture
def talking(tmp_path: Path) -> TalkingTrainer:
    return TalkingTrainer(tmp_path / "trainer")


def state_problem(sentence: str) -> dict[str, Any]:
    return problem(sentence, kind="state", setting="resume")


def test_promise_5_a_state_that_its_trainer_calls_damaged_is_quarantined_and_the_next_one_is_taken(
    context: Context, folder: JobFolder, talking: TalkingTrainer
) -> None:
    ours(folder, "4", "8", "12")
    for name in ("my-lora-000012-state", "my-lora-000008-state"):
        damaged = state_problem(f"--resume: {name}/optimizer.bin holds a damaged tensor.")
        talking.answer(resume=name, state={"verdict": "damaged"}, problems=[damaged])
    talking.answer(resume="my-lora-000004-state", state={"verdict": "fits", "step": 40})
    begin = prepare(context, folder, talking.path)
    assert (begin.resumed_from, begin.step, begin.problems) == ("my-lora-000004-state", 40, ())
    assert begin.set_aside == ("my-lora-000008-state.broken-1", "my-lora-000012-state.broken-1")
    assert "my-lora-000012-state/optimizer.bin holds a damaged tensor." in begin.notes[1]


def test_the_trainer_knows_the_step_of_a_state_by_sd_scripts_better_than_the_daemon(
    context: Context, folder: JobFolder, talking: TalkingTrainer
) -> None:
    """The daemon counts ten steps in an epoch, but two buckets can leave two batches partly filled."""
    write_state(folder.path / "my-lora-000004-state", epoch=4, step=40, weights=WEIGHTS)
    talking.answer(state={"verdict": "fits", "step": 44}, plan=plan(stepsPerEpoch=11))
    trainer = adapter(talking.path)
    assert [facts.step for facts in trainer.checkpoints(context, folder)] == [40]
    outlook = asyncio.run(resuming.look(trainer, context, folder, pictures=(folder.dataset,)))
    assert resuming.prepare(trainer, context, folder, outlook).step == 44
    assert [facts.step for facts in trainer.checkpoints(context, folder)] == [44]


def test_a_look_changes_nothing(context: Context, folder: JobFolder, talking: TalkingTrainer) -> None:
    ours(folder, "4", "8", "12", "16")
    (folder.path / "my-lora-000016-state" / "optimizer.bin").unlink()
    talking.answer(resume="my-lora-000012-state", state={"verdict": "damaged"}, problems=[state_problem("Torn.")])
    before = states(folder)
    outlook = look(context, folder, talking.path)
    assert isinstance(outlook.where, GoOn)
    assert outlook.where.checkpoint.name == "my-lora-000008-state"
    assert states(folder) == before


def test_promise_5_a_state_that_does_not_fit_blocks_the_job_with_everything_its_trainer_says(
    context: Context, folder: JobFolder, talking: TalkingTrainer
) -> None:
    ours(folder, "1", "2", "4", "8")
    misfit = state_problem("The state was made with --network_dim 4, but 8 is asked for.")
    missing = problem("There is no file /m/x.", kind="missing_file", path="/m/x")
    talking.answer(resume="my-lora-000008-state", state={"verdict": "misfit"}, problems=[misfit, missing])
    begin = prepare(context, folder, talking.path)
    assert [each.sentence for each in begin.problems] == [
        "The state was made with network_dim 4, but 8 is asked for.",
        "There is no file /m/x.",
    ]
    assert len(states(folder)) == 4  # the attempt isn't made, so nothing is deleted
    talking.answer(resume="my-lora-000008-state", state={"verdict": "fits"})
    assert prepare(context, folder, talking.path).step == 80


def test_promise_5_if_the_trainer_does_not_say_the_newest_complete_state_is_taken(
    context: Context, folder: JobFolder
) -> None:
    ours(folder, "8")
    assert prepare(context, folder, network_dim=64).resumed_from == "my-lora-000008-state"


def test_either_trainer_continues_from_a_state_of_sd_scripts_with_the_true_step(
    context: Context, folder: JobFolder
) -> None:
    """sd-scripts' counter restarts at each resume, so it may say 40 in both states."""
    for epoch in (4, 8):
        write_state(folder.path / f"my-lora-{epoch:06d}-state", epoch=epoch, step=40, weights=WEIGHTS)
    for path in (NOWHERE, SD_SCRIPTS):
        begin = prepare(context, folder, path)
        assert (begin.resumed_from, begin.step) == ("my-lora-000008-state", 80)


def test_retention_deletes_the_oldest_states_and_unfinished_ones(context: Context, folder: JobFolder) -> None:
    ours(folder, "4", "8", "12", "s125", "s131")
    our_state(folder.path / "my-lora-state.tmp")
    begin = prepare(context, folder)
    assert begin.step == 131
    assert states(folder) == ["000012-state", "step00000125-state", "step00000131-state"]
    assert sorted(begin.notes) == [
        "the half-written my-lora-state.tmp was deleted",
        "the old checkpoint my-lora-000004-state was deleted",
        "the old checkpoint my-lora-000008-state was deleted",
    ]
    prepare(context, folder, keep_states=1)
    assert states(folder) == ["step00000131-state"]


def test_torn_caches_are_removed_and_named(context: Context, folder: JobFolder) -> None:
    (folder.dataset / "0_flux_te.npz").write_bytes(b"PK\x03\x04 half")
    assert prepare(context, folder).notes == ("the damaged cache 0_flux_te.npz was removed",)
    assert not (folder.dataset / "0_flux_te.npz").exists()
