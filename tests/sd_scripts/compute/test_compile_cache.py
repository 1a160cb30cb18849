# SPDX-License-Identifier: Apache-2.0
"""The folder from which PyTorch loads compiled code, which no other user can have made."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path

import pytest

from library.compute import compile_cache
from library.compute.compile_cache import VARIABLE, untrusted
from library.errors import TrainerError
from tests.sd_scripts.running import Settings, train


def given_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the path belong to a user other than this process's."""
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        owner = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)


def test_code_is_loaded_from_a_folder_that_belongs_to_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert untrusted(tmp_path) is None
    assert untrusted(tmp_path / "not there yet") is None
    (file := tmp_path / "file").touch()
    assert untrusted(file) == "it is not a folder"
    (link := tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert untrusted(link) == "it is a broken symbolic link"
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(0o777)
    assert untrusted(shared) == "every user can write to it"
    (foreign := tmp_path / "foreign").mkdir()
    given_away(foreign, monkeypatch)
    assert "who could replace the code in it" in str(untrusted(foreign))


def settled(monkeypatch: pytest.MonkeyPatch, *, named: Path | None, cache: Path) -> tuple[Path, list[str]]:
    """The folder that is chosen, and the messages about it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv(VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(VARIABLE, str(named))
    said: list[str] = []
    monkeypatch.setattr(compile_cache, "warn", said.append)
    compile_cache.settle()
    return Path(os.environ[VARIABLE]), said


def test_by_default_it_is_in_the_cache_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said = settled(monkeypatch, named=None, cache=tmp_path)
    assert (folder, said) == (tmp_path / "fluxgym" / "torchinductor", [])
    assert folder.stat().st_mode & 0o777 == 0o700


def test_if_that_belongs_to_another_user_the_run_gets_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (foreign := tmp_path / "fluxgym" / "torchinductor").mkdir(parents=True)
    given_away(foreign, monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, (sentence,) = settled(monkeypatch, named=None, cache=tmp_path)
    assert folder.parent == tmp_path
    assert f"{foreign} can't be used, because it belongs to user" in sentence


def test_a_folder_that_the_user_names_is_used_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(monkeypatch, named=tmp_path / "mine", cache=tmp_path) == (tmp_path / "mine", [])
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(0o777)
    with pytest.raises(TrainerError, match=f"{VARIABLE} is .*shared, but every user can write to it; set it to"):
        settled(monkeypatch, named=shared, cache=tmp_path)


def test_foreign_files_in_the_temporary_directory_do_no_harm(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's default folder would be there. Empty variables and accelerate's do no harm either."""
    (temporary := tmp_path / "tmp").mkdir()
    (in_the_way := temporary / f"torchinductor_{getpass.getuser()}").touch()
    (cache := tmp_path / "cache").mkdir()
    monkeypatch.delenv(VARIABLE)
    for name, value in {
        "TMPDIR": str(temporary),
        "XDG_CACHE_HOME": str(cache),
        "TORCHINDUCTOR_COMPILE_THREADS": "",
        "WORLD_SIZE": "",
        "HF_HOME": "",
        "ACCELERATE_USE_CPU": "False",
    }.items():
        monkeypatch.setenv(name, value)
    # To check an optimizer other than AdamW, --check_job tries it, which imports torch.
    checked = train(settings.plus("--optimizer_type torch.optim.Adam --check_job"))
    assert json.loads(checked.stdout)["problems"] == []
    outcome = train(settings.plus("--max_train_steps 1"))
    assert outcome.lora.exists()
    assert list(temporary.iterdir()) == [in_the_way]
    assert (cache / "fluxgym" / "torchinductor").is_dir()
