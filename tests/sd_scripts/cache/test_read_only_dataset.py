# SPDX-License-Identifier: Apache-2.0
"""A dataset on a read-only disk: a flag that keeps caches beside the pictures is refused, unless all caches exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from library.cache import cache_file, latent_cache
from library.errors import TrainerError
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Outcome, Settings, running

# In a separate mount namespace, which ends with the program.
AS_ROOT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def train_on_a_read_only_disk(settings: Settings) -> Outcome:
    """Makes the folder read-only: by its mode, or by a mount for root, who can write to any folder."""
    if os.geteuid() == 0:
        command: tuple[str, ...] = ("unshare", "-m", "sh", "-c", AS_ROOT, str(settings.pictures))
    else:
        command = ()
        settings.pictures.chmod(0o555)
    try:
        with running(settings, command) as trainer:
            return trainer.finish()
    finally:
        settings.pictures.chmod(0o755)


@pytest.mark.parametrize("flag", ["--cache_latents_to_disk", "--cache_text_encoder_outputs_to_disk"])
def test_the_flag_that_asks_for_caches_is_named(flag: str, settings: Settings) -> None:
    outcome = train_on_a_read_only_disk(settings.plus(f"{flag} --max_train_epochs 1"))
    assert outcome.status == 1
    sentence = f"{flag} keeps caches beside the pictures, but {settings.pictures} is not writable: make it writable"
    assert f"error: {sentence}" in outcome.stderr
    assert "caching" not in outcome.stdout
    assert not outcome.lora.exists()


def test_caches_that_are_there_are_used(settings: Settings) -> None:
    words = (
        "--cache_latents_to_disk --cache_text_encoder_outputs_to_disk --network_train_unet_only --max_train_epochs 1"
    )
    assert run(settings.plus(words, output="first")).error is None
    outcome = train_on_a_read_only_disk(settings.plus(words))
    assert (outcome.status, outcome.lora.exists()) == (0, True), outcome.stderr


def test_a_disk_that_refuses_only_when_it_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network volume whose server maps root to nobody behaves like this."""

    def refuse(path: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TrainerError, match=rf"^{latent_cache.FLAG} keeps caches beside the pictures, but {tmp_path}"):
        cache_file.write(tmp_path / "x.npz", {}, seal_name="seal", inputs={}, flag=latent_cache.FLAG)
    assert list(tmp_path.iterdir()) == []
