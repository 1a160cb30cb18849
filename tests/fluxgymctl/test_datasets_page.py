# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/datasets.md, run as written and in order, and what a job gets of a dataset."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluxgym.protocol import dataset_methods as m
from fluxgym.protocol.client import Connection
from fluxgym.protocol.dataset_messages import Dataset, Picture
from tests.daemon.running import ROOT, RunningDaemon, tiny_model
from tests.datasets.importing import make_pictures
from tests.fluxgymctl.program import ctl

PAGE = ROOT / "docs" / "datasets.md"
COMMANDS = [
    line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    fluxgymctl ")
]


class User:
    """Types the page's commands, with a home of pictures."""

    def __init__(self, daemon: RunningDaemon, home: Path) -> None:
        self.daemon = daemon
        self.home = home
        self._left = list(COMMANDS)

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = ctl(*words, socket=self.daemon.socket, cwd=self.home, HOME=str(self.home))
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def until(self, beginning: str) -> str:
        """Runs the page's next commands up to one that begins like this; returns what that one wrote."""
        while True:
            command = self._left.pop(0)
            done = self.run(*map(os.path.expanduser, shlex.split(command)[1:]))
            if command.startswith(f"fluxgymctl {beginning}"):
                return done.stdout + done.stderr

    def dataset(self, name: str = "cats") -> Dataset:
        dataset = self.daemon.call(m.DESCRIBE_DATASET, m.DatasetName(name=name)).dataset
        assert isinstance(dataset, Dataset)
        return dataset

    def pictures(self) -> dict[str, Picture]:
        with Connection(self.daemon.socket) as connection:
            replies = connection.stream(m.PICTURES, m.PicturesParameters(name="cats"))
            return {reply.picture.name: reply.picture for reply in replies if reply.picture is not None}

    def stored(self) -> set[Path]:
        return set((self.daemon.home / "datasets/.store").rglob("*.jpg"))

    def submitted(self, name: str) -> dict[str, Any]:
        first = (self.daemon.folder(name) / "events.jsonl").read_bytes().splitlines()[0]
        event: dict[str, Any] = json.loads(first)
        return event


@pytest.fixture
def user(daemon: RunningDaemon, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    make_pictures(tmp_path / "Pictures/cats")
    monkeypatch.setenv("HOME", str(tmp_path))  # for expanduser
    model = tiny_model(spec.parent / "models")
    for name, path in (
        ("unet/flux1-dev.sft", model.transformer),
        ("clip/clip_l.safetensors", model.clip_l),
        ("clip/t5xxl_fp16.safetensors", model.t5xxl),
        ("vae/ae.sft", model.autoencoder),
        ("tokenizers", model.tokenizers),
    ):
        link = daemon.home / "models" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(str(path))
    return User(daemon, tmp_path)


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob("*.jpg")}


def test_the_page_and_what_a_job_gets(user: User) -> None:
    daemon = user.daemon
    said = user.until("dataset add")
    assert said.endswith("3 pictures added.\n")
    originals = {path: path.read_bytes() for path in (user.home / "Pictures/cats").iterdir()}
    broken = user.home / "Pictures/broken"
    make_pictures(broken, 4)
    (broken / "IMG_2.jpg").write_bytes(b"")
    done = user.run("dataset", "add", "cats", "Pictures/broken", status=1)
    assert "1 picture added, 2 already known, 1 file left out." in done.stderr
    assert len(user.stored()) == 4
    assert {path.stat().st_mode & 0o777 for path in user.stored()} == {0o444}
    user.run("dataset", "undo", "cats")

    small = Path(daemon.call(m.THUMBNAIL, m.ThumbnailParameters(name="cats", picture="IMG_1.jpg", side=100)).path)
    with Image.open(small) as picture:
        assert (picture.format, max(picture.size)) == ("JPEG", 128)
    with Connection(daemon.socket) as connection:
        seen = connection.stream(m.WATCH_DATASETS, m.WatchDatasetsParameters(name="cats"))
        assert next(seen).dataset == user.dataset()
        assert next(seen).dataset is None  # the present state is complete
        user.run("dataset", "caption", "cats", "IMG_1.jpg", "a cat")
        assert next(seen).dataset == user.dataset()

    user.until("dataset use")
    assert {name: (one.caption, one.used) for name, one in user.pictures().items()} == {
        "IMG_1.jpg": ("a black cat on a wall", True),
        "IMG_2.jpg": ("cat 2", False),
        "IMG_3.jpg": ("cat 3", True),
    }
    user.until("dataset undo cats")
    assert user.pictures()["IMG_2.jpg"].used

    shown = user.run("dataset", "show", "cats", "--trigger-word", "c4t", "--json").stdout.splitlines()[1:]
    trained = {row["picture"]["name"]: row["trained"] for row in map(json.loads, shown)}
    user.until("submit")
    (user.home / "cats").mkdir()
    for name in ("my-cat", "other-cat"):
        if name != "my-cat":
            user.run("submit", name, "--dataset", "cats", "--trigger-word", "c4t", "--hold")
        folder = daemon.folder(name) / "dataset"
        assert sorted(path.name for path in folder.iterdir()) == [
            *("IMG_1.png", "IMG_1.txt", "IMG_2.jpg", "IMG_2.txt", "IMG_3.jpg", "IMG_3.txt"),
        ]
        texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}
        assert texts == {Path(picture).stem: f"{text}\n" for picture, text in trained.items()}
        assert texts["IMG_1"] == "c4t, a black cat on a wall\n"
        copied = user.submitted(name)["copied"]
        assert (copied["dataset"], copied["revision"], copied["pictures"]) == ("cats", user.dataset().revision, 3)
    links = inodes(daemon.folder("my-cat") / "dataset")
    assert links == inodes(daemon.folder("other-cat") / "dataset")
    assert set(links.values()) < {path.stat().st_ino for path in user.stored()}
    assert "with 3 pictures from revision" in user.run("history", "my-cat").stdout

    before = {path.name: path.read_bytes() for path in (daemon.folder("my-cat") / "dataset").iterdir()}
    user.run("dataset", "caption", "cats", "IMG_3.jpg", "a dog")
    user.until("dataset rm cats --purge")
    assert {path.name: path.read_bytes() for path in (daemon.folder("my-cat") / "dataset").iterdir()} == before
    assert user.stored() == set()
    assert not small.exists()
    assert {path: path.read_bytes() for path in (user.home / "Pictures/cats").iterdir()} == originals

    done = user.run("submit", "third", "--dataset", "cats", status=3)
    assert done.stderr == ("fluxgymctl: There is no dataset cats. To train on the folder cats, write ./cats.\n")
    for name in ("my-cat", "other-cat"):
        user.run("stop", name)
        user.run("rm", name)
