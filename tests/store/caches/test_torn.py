# SPDX-License-Identifier: Apache-2.0
"""Caches that a kill left incomplete are removed; all other files stay. Shared ones can be copied."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from fluxgymd.store.caches import torn as caches
from fluxgymd.store.formats import zip_file


def npz(*, how: int = zipfile.ZIP_STORED) -> bytes:
    """Arrays as numpy.savez packs them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as file:
        file.writestr("latents_8x8.npy", b"\x93NUMPY" + os.urandom(600))
        file.writestr("original_size_8x8.npy", b"\x93NUMPY" + bytes(100))
    return buffer.getvalue()


def test_a_complete_cache_is_recognized_as_complete(tmp_path: Path) -> None:
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # savez and savez_compressed
        (tmp_path / "a_flux.npz").write_bytes(npz(how=how))
        assert zip_file.is_whole(tmp_path / "a_flux.npz")
    assert caches.remove_torn(tmp_path) == []


def test_promise_5_a_cache_that_is_torn_at_any_byte_is_removed(tmp_path: Path) -> None:
    whole = npz()
    path = tmp_path / "0_0080x0064_flux.npz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert caches.remove_torn(tmp_path) == [path.name], length
        assert not path.exists()


def test_a_hole_of_zeros_is_found(tmp_path: Path) -> None:
    """After a power cut, a file may have its length and its end but not its beginning."""
    (tmp_path / "a_flux_te.npz").write_bytes(bytes(100) + npz()[100:])
    assert caches.remove_torn(tmp_path) == ["a_flux_te.npz"]


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("a_flux.npz", True),
        ("a_0512x0512_flux.npz", True),
        ("a_flux_te.npz", True),
        ("a_flux.npz.tmp", True),
        ("a_flux_te.npz.tmp", True),
        # Not one of Flux's caches, so FluxGym must not remove it.
        ("a.npz", False),
        ("a_flux.npz.bak", False),
        ("a.png", False),
        ("a.txt", False),
    ],
)
def test_only_caches_of_flux_are_checked(*, tmp_path: Path, name: str, goes: bool) -> None:
    (tmp_path / name).write_bytes(b"torn")
    (tmp_path / "folder_flux.npz").mkdir()
    (tmp_path / "link_flux.npz").symlink_to(tmp_path / "nowhere")
    assert caches.remove_torn(tmp_path) == ([name] if goes else [])
    assert (tmp_path / name).exists() is not goes


def test_without_a_dataset_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert caches.remove_torn(tmp_path / "dataset") == []


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_job_gets_copies_of_its_shared_caches(tmp_path: Path, mode: int) -> None:
    (dataset := tmp_path / "dataset").mkdir()
    (shared := tmp_path / "shared.npz").write_bytes(npz())
    (dataset / "a_flux.npz").hardlink_to(shared)
    shared.chmod(mode)
    (dataset / "b_flux.npz").write_bytes(npz())
    own = (dataset / "b_flux.npz").stat().st_ino
    (stored := tmp_path / "stored.png").write_bytes(b"a picture, which no trainer writes to")
    (dataset / "a.png").hardlink_to(stored)
    caches.unshare(dataset)
    assert (dataset / "a.png").samefile(stored)
    assert not (dataset / "a_flux.npz").samefile(shared)
    assert (dataset / "a_flux.npz").read_bytes() == shared.read_bytes()
    assert (dataset / "a_flux.npz").stat().st_mode & 0o200
    assert (dataset / "b_flux.npz").stat().st_ino == own
    assert sorted(path.name for path in dataset.iterdir()) == ["a.png", "a_flux.npz", "b_flux.npz"]
