# SPDX-License-Identifier: Apache-2.0
"""What is done to a job's files before an attempt: chosen, set aside, deleted, refused, and left alone."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import StorageFailed
from fluxgym.messages import Context, Model
from fluxgymd.core.resume import Impossible, Trainer
from fluxgymd.engine import resuming
from fluxgymd.engine.resuming import Beginning
from fluxgymd.store.home import JobFolder
from tests.core.histories import CONTEXT
from tests.store.files import BLOCKS, CLIP, RECORDED, lora, model, our_state, write_state

WEIGHTS = lora(BLOCKS | CLIP, rank=4, alpha=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """A job with five pictures, twice: 10 steps an epoch."""
    folder = JobFolder(tmp_path / "my-lora")
    folder.dataset.mkdir(parents=True)
    for number in range(5):
        (folder.dataset / f"{number}.png").touch()
        (folder.dataset / f"{number}.txt").touch()
    return folder


@pytest.fixture
def context(tmp_path: Path) -> Context:
    files = {"transformer": BLOCKS, "clip_l": CLIP}
    for name, modules in files.items():
        (tmp_path / name).write_bytes(model(modules))
    paths = Model(transformer=str(tmp_path / "transformer"), clip_l=str(tmp_path / "clip_l"))
    return msgspec.structs.replace(CONTEXT, model=paths, repeats=2, keep_states=3)


def ours(folder: JobFolder, *names: str) -> None:
    """`4`: after epoch 4 of 10 steps each; `s45`: after step 45."""
    for name in names:
        step = int(name[1:]) if name[0] == "s" else int(name) * 10
        moment = f"step{step:08d}" if name[0] == "s" else f"{int(name):06d}"
        our_state(folder.path / f"my-lora-{moment}-state", epoch=-(-step // 10), step=step, weights=WEIGHTS)


def states(folder: JobFolder) -> list[str]:
    return sorted(path.name.removeprefix("my-lora-") for path in folder.path.glob("*-state*"))


def prepare(context: Context, folder: JobFolder, trainer: Trainer = Trainer.OURS, **changes: Any) -> Beginning:
    return resuming.prepare(msgspec.structs.replace(context, **changes), folder, trainer=trainer)


def test_a_first_attempt_begins_at_the_beginning(context: Context, folder: JobFolder) -> None:
    begin = prepare(context, folder)
    assert (begin.resumed_from, begin.step, begin.set_aside, begin.notes) == (None, 0, (), ())


def test_promise_5_the_furthest_whole_state_is_taken_and_never_the_one_touched_last(
    context: Context, folder: JobFolder
) -> None:
    ours(folder, "8", "s45", "4")
    os.utime(folder.path / "my-lora-000008-state", (1, 1))
    begin = prepare(context, folder)
    assert (begin.resumed_from, begin.step) == ("my-lora-000008-state", 80)


def test_promise_5_broken_states_are_set_aside_named_and_kept(context: Context, folder: JobFolder) -> None:
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
            "optimizer.bin is torn or not a file of torch.save"
        ),
    )
    # And once more after the trainer came as far as that again, and was killed again while it saved.
    ours(folder, "8")
    (folder.path / "my-lora-000008-state" / "scheduler.bin").unlink()
    assert prepare(context, folder).set_aside == ("my-lora-000008-state.broken-2",)
    assert states(folder) == [
        *("000004-state", "000008-state.broken-1", "000008-state.broken-2", "000012-state.broken-1")
    ]
    assert {facts.name for facts in resuming.scan(context, folder) if not facts.complete} == {
        f"my-lora-{name}" for name in states(folder)[1:]
    }


def test_promise_5_a_state_that_the_disk_does_not_give_is_waited_for(context: Context, folder: JobFolder) -> None:
    """An error of a network volume must not cost the training: an older state is not taken instead."""
    ours(folder, "4", "8")
    file = folder.path / "my-lora-000008-state" / "optimizer.bin"
    whole = file.read_bytes()
    file.unlink()
    file.symlink_to(file.name)  # the one error of reading that root can have without a broken disk: ELOOP
    before = states(folder)
    with pytest.raises(StorageFailed) as refusal:
        prepare(context, folder)
    assert refusal.value.message == (
        "The checkpoint my-lora-000008-state is not looked past: it cannot be read: "
        "Too many levels of symbolic links."
    )
    assert states(folder) == before
    file.unlink()
    file.write_bytes(whole)
    assert prepare(context, folder).step == 80


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network_dim": 8}, "its rank is 4, and 8 is asked for (network_dim)"),
        ({"trainer_options": {"network_alpha": ["4"]}}, "its alpha is 1, and 4 is asked for (network_alpha)"),
        (
            {"trainer_options": {"optimizer_type": ["adafactor"]}},
            "its optimizer is AdamW, and Adafactor is asked for",
        ),
        ({"trainer_options": {"network_train_unet_only": []}}, "CLIP-L was trained, and is not to be"),
        ({"trainer_options": {"network_args": ["train_blocks=double"]}}, "its blocks are all, and double are asked"),
        ({"repeats": 3}, "an epoch of its dataset had 10 steps, and has 15 now"),
        ({"epochs": 5}, "it is at step 80, and only 50 are asked for (epochs)"),
    ],
)
def test_promise_5_a_changed_setting_is_found_before_the_start(
    *, context: Context, folder: JobFolder, changes: dict[str, Any], words: str
) -> None:
    ours(folder, "1", "2", "4", "8")
    where = prepare(context, folder, **changes).where
    assert isinstance(where, Impossible)
    assert where.sentence.startswith("Its checkpoint my-lora-000008-state does not fit its settings: ")
    assert words in where.sentence
    assert where.sentence.endswith(").") or "to be" in where.sentence
    assert len(states(folder)) == 4  # nothing is deleted for an attempt that is not made
    assert prepare(context, folder).step == 80  # set back


def test_promise_5_another_dataset_and_another_model_are_found(context: Context, folder: JobFolder) -> None:
    ours(folder, "8")
    (folder.dataset / "another.PNG").touch()
    where = prepare(context, folder).where
    assert isinstance(where, Impossible)
    assert "an epoch of its dataset had 10 steps, and has 12 now" in where.sentence
    (folder.dataset / "another.PNG").unlink()

    assert context.model is not None
    Path(str(context.model.transformer)).write_bytes(model(dict.fromkeys(BLOCKS, (16, 48))))
    where = prepare(context, folder).where
    assert isinstance(where, Impossible)
    assert "it was made for another model: lora_unet_double_blocks_0_img_attn_qkv has another size" in where.sentence


def test_a_model_that_cannot_be_read_is_the_trainers_to_tell(context: Context, folder: JobFolder) -> None:
    ours(folder, "8")
    gone = Model(transformer="/nowhere", clip_l="/nowhere")
    assert prepare(context, folder, model=gone).resumed_from == "my-lora-000008-state"


def test_from_a_state_of_sd_scripts_either_trainer_goes_on_with_the_true_step(
    context: Context, folder: JobFolder
) -> None:
    """Its own counter says 40 in both, as after a resume (trainers.md 1.5)."""
    for epoch in (4, 8):
        write_state(folder.path / f"my-lora-{epoch:06d}-state", epoch=epoch, step=40, weights=WEIGHTS)
    for trainer in Trainer:
        begin = prepare(context, folder, trainer)
        assert (begin.resumed_from, begin.step) == ("my-lora-000008-state", 80)


def test_sd_scripts_state_tells_its_rank_and_optimizer_too(context: Context, folder: JobFolder) -> None:
    state = write_state(folder.path / "my-lora-000004-state", epoch=4, step=40, weights=WEIGHTS)
    (state / "optimizer.bin").write_bytes((RECORDED / "adafactor.bin").read_bytes())
    where = prepare(context, folder, Trainer.SD_SCRIPTS, network_dim=16).where
    assert isinstance(where, Impossible)
    assert where.sentence == (
        "Its checkpoint my-lora-000004-state does not fit its settings: its rank is 4, and 16 is asked for "
        "(network_dim); its optimizer is Adafactor, and AdamW is asked for (optimizer_type)."
    )


def test_retention_deletes_the_oldest_and_what_was_never_finished(context: Context, folder: JobFolder) -> None:
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
    assert prepare(context, folder).notes == ("the cache 0_flux_te.npz was torn and was removed",)
    assert not (folder.dataset / "0_flux_te.npz").exists()
