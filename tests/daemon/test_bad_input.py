# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one clear sentence and a nonzero exit status, and leaves nothing behind."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fluxgym.errors import (
    FileMissing,
    FluxgymError,
    InvalidDataset,
    InvalidName,
    InvalidParameter,
    InvalidSetting,
    NameTaken,
    NotEnoughSpace,
    StorageFailed,
)
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, State
from tests.daemon.running import ROOT, RunningDaemon, context
from tests.harness.waiting import DEADLINE_SECONDS, until


def left_behind(daemon: RunningDaemon) -> list[str]:
    return sorted(path.name for path in (daemon.home / "outputs").iterdir())


def refused(daemon: RunningDaemon, wrong: Context, error: type[FluxgymError]) -> str:
    with pytest.raises(error) as caught:
        daemon.submit(wrong)
    assert left_behind(daemon) == []
    return caught.value.message


def test_a_wrong_submit_is_refused_and_leaves_nothing(daemon: RunningDaemon, model: Path, folder: Path) -> None:
    good = context("my-lora", model)
    assert "'my-lora-2' would be valid" in refused(daemon, context("My/Lora 2", model), InvalidName)

    empty = folder / "empty"
    empty.mkdir()
    said = refused(daemon, context("my-lora", model, dataset=str(empty)), InvalidDataset)
    assert said.startswith(f"The dataset {empty} contains no pictures")
    said = refused(daemon, context("my-lora", model, dataset=str(folder / "none")), InvalidDataset)
    assert str(folder / "none") in said
    assert good.model is not None
    nothing = msgspec.structs.replace(good.model, t5xxl="/none/t5", autoencoder="/none/ae")
    said = refused(daemon, msgspec.structs.replace(good, dataset=str(empty), model=nothing), InvalidDataset)
    assert [sentence.split(" contains")[0].split(" for ")[0] for sentence in said.splitlines()] == [
        f"The dataset {empty}",
        "The file /none/t5",
        "The file /none/ae",
    ]
    with_max = {**(good.trainer_options or {}), "max_train_steps": ["2"], "resolution": ["128"]}
    assert refused(daemon, msgspec.structs.replace(good, trainer_options=with_max), InvalidSetting) == (
        "trainer_options.max_train_steps would have no effect; use epochs instead.\n"
        "trainer_options.resolution would have no effect; use resolution instead."
    )

    corrupt = folder / "corrupt"
    shutil.copytree(model / "pictures", corrupt)
    torn = next(corrupt.glob("*.png"))
    torn.write_bytes(torn.read_bytes()[:200])
    assert str(torn) in refused(daemon, context("my-lora", model, dataset=str(corrupt)), InvalidDataset)

    assert good.trainer_options is not None
    typo = msgspec.structs.replace(good, trainer_options=good.trainer_options | {"netwrok_alpha": ["1"]})
    assert "did you mean trainer_options.network_alpha?" in refused(daemon, typo, InvalidSetting)
    switch = msgspec.structs.replace(good, trainer_options=good.trainer_options | {"highvram": ["true"]})
    assert "trainer_options.highvram is a switch and takes no value" in refused(daemon, switch, InvalidSetting)
    bogus = msgspec.structs.replace(good, trainer_options=good.trainer_options | {"optimizer_type": ["bogus"]})
    assert "trainer_options.optimizer_type bogus: is not one of " in refused(daemon, bogus, InvalidSetting)
    ours = msgspec.structs.replace(good, trainer_options=good.trainer_options | {"output_dir": ["/"]})
    assert "use the name of the job" in refused(daemon, ours, InvalidSetting)
    assert "epochs is 0" in refused(daemon, msgspec.structs.replace(good, epochs=0), InvalidSetting)

    assert good.model is not None
    missing = msgspec.structs.replace(good.model, t5xxl=str(folder / "t5.safetensors"))
    said = refused(daemon, msgspec.structs.replace(good, model=missing), FileMissing)
    assert re.match(
        r"The file /\S+ for T5-XXL does not exist; give its path as model.t5xxl or with fluxgymctl --t5xxl\.",
        said,
    )
    junk = folder / "junk.safetensors"
    junk.write_bytes(b"<!DOCTYPE html><html>Log in</html>")
    wrong = msgspec.structs.replace(good.model, transformer=str(junk))
    said = refused(daemon, msgspec.structs.replace(good, model=wrong), InvalidSetting)
    assert f"{junk} is a web page" in said
    assert len(said.splitlines()) == 1

    huge = msgspec.structs.replace(good, network_dim=1024, epochs=1_000_000, save_every_epochs=1)
    assert "free some space, or save less often" in refused(daemon, huge, NotEnoughSpace)


def test_a_taken_name_is_refused_and_its_job_is_untouched(daemon: RunningDaemon, model: Path) -> None:
    daemon.submit(context("my-lora", model, epochs=1000))
    with pytest.raises(NameTaken):
        daemon.submit(context("my-lora", model))
    # The start of the job may be checking it in a folder of its own.
    until(lambda: left_behind(daemon) == [".pictures", "my-lora"], what="only the job and its pictures to be left")


def test_a_folder_that_is_not_a_job_is_named_and_untouched(daemon: RunningDaemon, model: Path) -> None:
    daemon.folder("a-folder").mkdir()
    daemon.folder("a-link").symlink_to("/nonexistent")
    for name in ("a-folder", "a-link"):
        with pytest.raises(NameTaken, match=f"{daemon.folder(name)} exists but is not a job; move it away"):
            daemon.submit(context(name, model))
    assert left_behind(daemon) == ["a-folder", "a-link"]
    assert daemon.info().degraded == []


def test_an_unknown_key_is_refused_by_name(daemon: RunningDaemon) -> None:
    class Misspelt(msgspec.Struct):
        job: dict[str, object]

    with pytest.raises(InvalidSetting, match=r"no setting epoch; did you mean epochs\?"):
        daemon.call(m.SUBMIT, Misspelt({"name": "a", "epoch": 3}))
    with pytest.raises(InvalidParameter):
        daemon.call(m.DESCRIBE, Misspelt({}))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"hello\0", b"not JSON"),
        (b'{"method": "a.B", "method": "a.C"}\0', b"twice"),
        (b'{"method": "a.B", "parameters": {"x": NaN}}\0', b"NaN"),
        (b"[" * 5_000 + b"\0", b"nested too deeply"),
        (b"[" * 200_000 + b"\0", b"more than 20000 brackets"),
        (b"x" * (1024 * 1024 + 1), b"longer than 1048576 bytes"),
        (b'{"parameters": {}}\0', b"not a Varlink call"),
    ],
    ids=["no JSON", "a key twice", "NaN", "too deep", "too many", "too long", "no method"],
)
def test_a_malformed_message_is_reported_and_the_daemon_continues(
    daemon: RunningDaemon, sent: bytes, said: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(DEADLINE_SECONDS)
        raw.connect(str(daemon.socket))
        raw.sendall(sent)
        answer = b""
        while data := raw.recv(65536):
            answer += data
    assert said in answer
    assert daemon.info().version


def test_a_second_daemon_is_refused(daemon: RunningDaemon, folder: Path) -> None:
    def start(*arguments: str) -> str:
        command = [sys.executable, "-m", "fluxgymd", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
        assert done.returncode == 4
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    same_socket = start("--socket", str(daemon.socket), "--home", str(folder / "other"))
    assert f"Another fluxgymd is already listening at {daemon.socket}" in same_socket
    same_home = start("--socket", str(folder / "other-socket"), "--home", str(daemon.home))
    assert f"The home {daemon.home} is owned by the fluxgymd with pid" in same_home
    assert not (folder / "other-socket").exists()
    assert daemon.info().version


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A real file system with few inodes: an estimate in bytes cannot foresee that it will run out."""
    disk = folder / "home"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m,nr_inodes=24", "tmpfs", disk], check=True, timeout=DEADLINE_SECONDS
    )
    yield disk
    subprocess.run(["umount", disk], check=True, timeout=DEADLINE_SECONDS)


@pytest.mark.systemd
def test_a_full_disk_is_reported_and_leaves_nothing_half_done(small_disk: Path, folder: Path, model: Path) -> None:
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        tiny = context("my-lora", model, network_dim=1, epochs=1)
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 63 * 512 * 1024)
        assert "free some" in refused(daemon, tiny, NotEnoughSpace)
        ballast.unlink()
        said = refused(daemon, tiny, StorageFailed)
        assert "it is full" in said
        assert said.startswith(f"The disk of {small_disk} refuses writes: ")
        assert daemon.info().degraded == [said]

        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", small_disk], check=True, timeout=DEADLINE_SECONDS)
        daemon.submit(tiny)
        daemon.wait("my-lora", State.COMPLETED)
        assert daemon.info().degraded == []
