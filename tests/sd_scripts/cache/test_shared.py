# SPDX-License-Identifier: Apache-2.0
"""Trainings share caches: what one has made, another one takes, unless it was made from something else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy
import pytest

from library.cache.inputs import TextInputs
from library.cache.shared import SharedCaches
from library.family.port import TextSources
from library.flux.base_model import CACHE_NAMES
from tests.sd_scripts.cache.material import fill, find, latent_inputs, missing, text_inputs
from tests.sd_scripts.running import Models

EACH = ["0.png", "1.png"]


def keep(folder: Path, models: Models, store: Path, *, made: bool = False) -> None:
    """Shares all caches of a folder. `made`: as if its training had just made them."""
    pictures = find(folder).pictures
    files = latent_inputs(models).contents(pictures) | text_inputs(models).contents(pictures)
    SharedCaches(store).keep(files, made=files if made else [])


def take(folder: Path, models: Models, store: Path) -> tuple[list[str], list[str]]:
    """Takes all shared caches that fit, and returns what is still missing: latents and texts."""
    pictures = find(folder).pictures
    SharedCaches(store).take(latent_inputs(models).contents(pictures) | text_inputs(models).contents(pictures))
    return missing(folder, models)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def other(cached: Path, tmp_path: Path) -> Path:
    """The same pictures under other names, without caches."""
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("0.png", "0.txt", "1.png", "1.txt"):
        shutil.copy(cached / name, folder / name)
    assert not list(folder.glob("*.npz"))
    return folder


def test_the_next_training_takes_all_of_them(cached: Path, other: Path, models: Models, store: Path) -> None:
    keep(cached, models, store)
    (other / "0.png").rename(other / "renamed.png")
    (other / "0.txt").rename(other / "renamed.txt")
    assert take(other, models, store) == ([], [])
    assert take(other, models, store) == ([], [])
    assert len(list(other.iterdir())) == 8
    latents = other / CACHE_NAMES.latents(find(other).pictures[1]).name
    assert latents.samefile(cached / "0_0080x0064_flux.npz")
    assert not os.stat(latents).st_mode & 0o222


def test_a_changed_caption_is_the_only_text_that_is_missing(
    cached: Path, other: Path, models: Models, store: Path
) -> None:
    keep(cached, models, store)
    (other / "1.txt").write_text("something else\n")
    assert take(other, models, store) == ([], ["1.png"])


def test_texts_of_another_tokenizer_are_not_taken(cached: Path, other: Path, models: Models, store: Path) -> None:
    keep(cached, models, store)
    shutil.copytree(models.folder / "tokenizers", tokenizers := other.parent / "tokenizers")
    with (tokenizers / "google_t5-v1_1-xxl" / "tokenizer.json").open("a") as file:
        file.write("\n")
    pictures = find(other).pictures
    assert SharedCaches(store).take(text_inputs(models, tokenizers=tokenizers).contents(pictures)) == 0
    shutil.rmtree(tokenizers / "google_t5-v1_1-xxl")  # then those beside the models are read
    assert SharedCaches(store).take(text_inputs(models, tokenizers=tokenizers).contents(pictures)) == 2


def test_without_tokenizers_no_texts_are_shared(cached: Path) -> None:
    """Nobody knows then which ones the caches of this job were made with."""
    none = TextSources(models={}, tokenizers=(), settings={})
    assert TextInputs(none, CACHE_NAMES, dtype="torch.float32").contents(find(cached).pictures) == {}


def test_latents_of_another_size_are_not_taken(cached: Path, other: Path, models: Models, store: Path) -> None:
    keep(cached, models, store)
    wide = find(other, width=128).pictures
    assert SharedCaches(store).take(latent_inputs(models).contents(wide)) == 0
    masked = find(other, alpha_mask=True).pictures
    assert SharedCaches(store).take(latent_inputs(models).contents(masked)) == 0


def test_a_damaged_one_is_replaced_by_the_next_training(
    cached: Path, other: Path, models: Models, store: Path
) -> None:
    keep(cached, models, store)
    for path in store.rglob("*.npz"):
        with numpy.load(path) as archive:
            arrays = {
                name: archive[name] * 2 if archive[name].dtype.kind == "f" else archive[name] for name in archive
            }
        path.unlink()
        numpy.savez(path, **arrays)
    assert take(other, models, store) == (EACH, EACH)
    fill(other, models)
    keep(other, models, store)
    assert take(cached, models, store) == (EACH, EACH)
    keep(other, models, store, made=True)
    assert take(cached, models, store) == ([], [])


def test_a_cache_that_is_written_again_leaves_the_shared_one(
    cached: Path, other: Path, models: Models, store: Path
) -> None:
    keep(cached, models, store)
    take(other, models, store)
    (other / "0.txt").write_text("something else\n")
    fill(other, models)
    assert missing(cached, models) == ([], [])
    assert missing(other, models) == ([], [])


def test_caches_without_seals_are_not_shared(cached: Path, other: Path, models: Models, store: Path) -> None:
    """Of sd-scripts' caches only their age says what they were made from."""
    for path in cached.glob("*.npz"):
        with numpy.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files if not name.startswith("fluxgym")}
        numpy.savez(path, **arrays)
    keep(cached, models, store)
    assert take(other, models, store) == (EACH, EACH)


def test_where_links_are_impossible_they_are_copied(
    cached: Path, other: Path, models: Models, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(self))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    keep(cached, models, store)
    assert take(other, models, store) == ([], [])
    assert not (other / "0_flux_te.npz").samefile(cached / "0_flux_te.npz")


def test_a_folder_that_cannot_be_used_costs_a_warning(
    cached: Path, other: Path, models: Models, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write_text("not a folder")
    keep(cached, models, store)
    assert capsys.readouterr().err.count(f"caches cannot be shared with later trainings in {store}") == 1
    assert take(other, models, store) == (EACH, EACH)


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_cache_that_another_training_shares_at_the_same_moment_is_left_to_it(
    cached: Path, other: Path, models: Models, store: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    link, first = Path.hardlink_to, []

    def in_the_way(self: Path, target: Path) -> None:
        """The other training has renamed, or has just made, the temporary file, which has the same name."""
        if not first:
            first.append(self)
            raise error(0, "the other one was faster", str(self))
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", in_the_way)
    keep(cached, models, store)
    assert take(other, models, store) == (["0.png"], [])


def test_a_shared_cache_is_never_writable(
    cached: Path, models: Models, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that is killed leaves none that sd-scripts would write into."""
    modes = []
    rename = os.replace

    def noted(source: Path, target: Path) -> None:
        modes.append(os.stat(source).st_mode & 0o777)
        rename(source, target)

    monkeypatch.setattr(os, "replace", noted)
    keep(cached, models, store)
    assert modes == [0o444] * 4


def test_shared_caches_that_cannot_be_used_get_one_warning(
    cached: Path,
    other: Path,
    models: Models,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(cached, models, store)
    gone = min(store.rglob("*.npz"))

    def refuse(_: Path, target: Path) -> None:
        number = errno.ENOENT if target == gone else errno.ENOSPC
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert take(other, models, store) == (EACH, EACH)
    told = capsys.readouterr().err
    assert told.count("3 shared caches cannot be used, for example") == 1
    assert told.count(os.strerror(errno.ENOSPC)) == 1
    assert os.strerror(errno.ENOENT) not in told


def test_what_a_killed_training_left_is_in_nobodys_way(
    cached: Path, other: Path, models: Models, store: Path
) -> None:
    keep(cached, models, store)
    left = [path.with_name(f"{path.name}.tmp") for path in store.rglob("*.npz")]
    for path in left:
        path.with_suffix("").unlink()
        path.write_bytes(b"half of a cache")
    keep(cached, models, store)
    assert take(other, models, store) == ([], [])
    assert not any(path.exists() for path in left)


def test_without_a_folder_nothing_is_shared(cached: Path, models: Models) -> None:
    files = latent_inputs(models).contents(find(cached).pictures)
    alone = SharedCaches(None)
    alone.keep(files, made=files)
    assert alone.take(files) == 0
    assert {alone.listed(content) for content in files.values()} == {frozenset()}
